"""Ten wrong answers and more to every exercise, each with words of the hint that it must get.

A line is an answer, or the body of a function with the arguments in the first line; `##` parts it from the words.
"""

WRONG = {
    "01.1": """
        Subgroup("automobile", ("truck",)) ## the target is 'automobile'
        Subgroup("cat", ("automobile",)) ## the target is 'cat'
        Subgroup("trucks", ("automobile",)) ## the target is 'trucks'
        Subgroup("truck", ("ship",)) ## only sibling
        Subgroup("truck", ("automobile", "ship")) ## only sibling
        Subgroup("truck", ("automobiles",)) ## only sibling
        Subgroup.within("truck") ## only sibling
        ("truck", ("automobile",)) ## make a `Subgroup
        "truck" ## make a `Subgroup
        {"target": "truck", "siblings": ("automobile",)} ## make a `Subgroup
    """,
    "01.2": """z, head, labels
        percent(z.argmax(1) == labels) ## the head is not read
        percent(z[:, :3].argmax(1) == labels) ## which text is most similar
        percent((z @ head.T).argmin(1) == labels) ## *least*
        percent((z @ head.T).argmax(1) == labels) / 100 ## that is a share
        ((z @ head.T).argmax(1) == labels).sum().item() ## number of images
        100 - percent((z @ head.T).argmax(1) == labels) ## images that are wrong
        percent((z @ head.T)[range(len(z)), labels] > 0) ## above zero
        percent((z @ head).argmax(1) == labels) ## raised
        percent((head @ z.T).argmax(1) == labels) ## raised
        percent((z @ head.T).argmax(1) == torch.arange(20) % 3) ## are they read
        percent(torch.cdist(z, head).argmax(1) == labels) ## *least*
        100.0 ## which text is most similar
    """,
    "01.3": """a, b
        int(np.isin(b, a).all((1, 2, 3)).sum()) ## compare whole images
        int((a == b).all((1, 2, 3)).sum()) ## raised
        sum((x == y).all() for x, y in zip(a, b)) ## another place
        len({x.tobytes() for x in a} & {y.tobytes() for y in b}) ## counts twice
        sum(y.sum() in {x.sum() for x in a} for y in b) ## compare whole images
        sum(bytes(y[0, 0]) in {bytes(x[0, 0]) for x in a} for y in b) ## compare whole images
        sum(y.mean() in {x.mean() for x in a} for y in b) ## compare whole images
        sum(np.sort(y.ravel()).tobytes() in {np.sort(x.ravel()).tobytes() for x in a} for y in b) ## compare whole
        sum(any(np.abs(x.astype(int) - y).max() < 2 for x in a) for y in b) ## compare whole images
        len(b) - len(a) ## counts twice
        4 ## an empty set
        sum(y.tobytes() in {x.tobytes() for x in a} for y in b) / len(b) ## you count
        len(a) ## compare whole images
    """,
    "01.4": """z, centres
        centres ## have not moved
        torch.stack([z[(z @ centres.T).argmax(1) == j].mean(0) for j in range(3)]) ## left the sphere
        F.normalize(torch.stack([z[(z @ centres.T).argmin(1) == j].mean(0) for j in range(3)]), dim=1) ## the sphere
        F.normalize(z.view(3, 3, 4).mean(1), dim=1) ## *most similar*
        F.normalize(z[:3], dim=1) ## *most similar*
        F.normalize(centres + z.mean(0), dim=1) ## *most similar*
        F.normalize((z @ centres.T).softmax(1).T @ z, dim=1) ## *most similar*
        F.normalize(torch.stack([z[(z @ centres.T).argmax(1) == j].mean(0) for j in range(3)]), dim=0) ## the sphere
        F.normalize(torch.stack([z[(z @ centres.T).argmax(1) == j].median(0).values for j in range(3)]), dim=1) ## most
        z ## return the centres
        (z @ centres.T).argmax(1) ## return the centres
        F.normalize(z.mean(0), dim=0) ## return the centres
    """,
    "01.5": """
        torch.eye(2) ## has length 0.71
        torch.tensor([[1.0, 0.0], [1.0, 0.0]]) ## has length 1.00
        torch.tensor([[2.0, 0.0], [-2.0, 0.0]]) ## length one
        torch.zeros(2, 2) ## length one
        torch.tensor([[1.0, 0.0]]) ## two images or more
        torch.tensor([1.0, -1.0]) ## tensor (N, D)
        [[1.0, 0.0], [-1.0, 0.0]] ## tensor (N, D)
        torch.tensor([[1.0, 0.0], [0.0, -1.0]]) ## has length 0.71
        torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]) ## has length 0.33
        torch.tensor([[1.0, 1.0], [-1.0, -1.0]]) ## length one
        torch.tensor([[0.6, 0.8], [-0.8, -0.6]]) ## has length 0.14
    """,
    "01.6": """
        50 ## still guesses
        60 ## other half
        0.55 ## that is a share
        10 ## what it is worth
        100 ## *every* test image
        5 ## on top
        45 ## gets wrong
        75 ## of the seen half
        90 ## of the seen half
        0 ## of the seen half
        "half" ## raised
    """,
    "02.1": """g
        g.mean(0).square().sum() ## cancelled
        g.sum(0).square().sum() ## cancelled
        g.mean().square() ## cancelled
        g.square().sum() ## sum over samples
        g.square().mean() ## *sum* over the layer's weights
        g.square().sum(0).mean() ## turned round
        g.norm(dim=1).mean() ## not squared
        g.norm(dim=1).mean().square() ## average then
        g.abs().sum(1).mean() ## not squared
        g.abs().sum(1).square().mean() ## Euclidean
        g.var(0).sum() ## variance
        g.var(0, correction=0).sum() ## variance
        g.square().sum(1).median() ## squared length of each
        g.square().sum(1).max() ## squared length of each
        g.square().sum() / 5 ## wrong for 1 of 2
        g.square().mean() * 7 ## wrong for 1 of 2
        g.square().sum(1) ## raised
    """,
    "02.2": """w, a, b, s
        w + (b @ a).view_as(w) ## scale
        w ## nothing changed
        w.add_(s * (b @ a).view_as(w)) ## in place
        s * (b @ a).view_as(w) ## B = 0
        w * (1 + s * (b @ a).view_as(w)) ## without permuting
        w - s * (b @ a).view_as(w) ## without permuting
        w + s * (b @ a).view(6, 3, 3, 4).permute(0, 3, 1, 2) ## without permuting
        w + s * (b @ a).view(4, 6, 3, 3).transpose(0, 1) ## without permuting
        w + s * (b @ a) ## raised
        w + s * (a @ b).view_as(w) ## raised
        (w.flatten(1) + s * b @ a) ## comes out
        w + s**2 * (b @ a).view_as(w) ## without permuting
        w + (b @ a).view_as(w) / s ## without permuting
    """,
    "02.3": """x, y, m
        (own(x, y) - x.max(1).values + m).relu().mean() ## among the others
        (own(x, y) - others(x, y) + m).mean() ## zero, not negative
        (own(x, y) - others(x, y) + m).relu().sum() ## that is the sum
        (own(x, y) - others(x, y)).relu().mean() ## where is the margin
        (own(x, y) - others(x, y) - m).relu().mean() ## subtract the margin
        (others(x, y) - own(x, y) + m).relu().mean() ## the wrong way round
        (own(x, y) - others(x, y) + m).relu() ## one number
        F.cross_entropy(x, y) ## best other
        (x[:, 0] - x[:, 1:].max(1).values + m).relu().mean() ## is the label read
        (own(x, y) - (x.sum(1) - own(x, y)) / 2 + m).relu().mean() ## best other
        (own(x, y)[:, None] - x + m).relu().mean() ## best other
        (own(x, y) - others(x, y) + 2).relu().mean() ## is the label read
    """,
    "02.4": """recognised, limit
        next((i for i, r in enumerate(recognised) if r < limit), -1) ## *at most* the limit
        next((i + 1 for i, r in enumerate(recognised) if r <= limit), -1) ## counted from 0
        int(np.argmin(recognised)) if len(recognised) else -1 ## not the lowest
        max((i for i, r in enumerate(recognised) if r <= limit), default=-1) ## last check within
        len(recognised) - 1 ## last check.
        sum(r <= limit for r in recognised) ## how *many* checks
        sum(r > limit for r in recognised) ## above the limit
        next((i for i, r in enumerate(recognised) if r <= limit), len(recognised)) ## which is -1
        next((i for i, r in enumerate(recognised) if r <= limit), None) ## no answer yet
        next(i for i, r in enumerate(recognised) if r <= limit) ## raised
        3 ## at once
        next((i for i, r in enumerate(recognised) if i and r <= limit), -1) ## at once
        next((i - 1 for i, r in enumerate(recognised) if r <= limit), -1) ## *before* the limit
        next((i for i, r in enumerate(recognised) if max(recognised[i:]) <= limit), -1) ## training has ended
        next((i for i, r in enumerate(recognised) if r <= limit), -1) if recognised[-1:] else 0 ## without a check
    """,
    "02.5": """
        {"hinge"} ## the hinge is flat
        {"similarity"} ## ascent pulls
        {"ascent"} ## never stops pulling
        {"similarity", "hinge"} ## the hinge is flat
        {"ascent", "hinge"} ## the hinge is flat
        {"similarity", "ascent", "hinge"} ## the hinge is flat
        set() ## never stops pulling
        {"Similarity", "ascent"} ## set of names
        "similarity" ## set of names
        ["similarity", "gradient ascent"] ## set of names
        2 ## set of names
    """,
    "02.6": """
        (torch.ones(2, 1), torch.ones(2, 1), torch.ones(2, 1), torch.ones(2, 1)) ## per image, layer a
        (torch.zeros(2, 1), torch.ones(2, 1), torch.ones(2, 1), torch.ones(2, 1)) ## per image, layer a
        (2 * torch.ones(2, 1), torch.ones(2, 1), torch.ones(2, 1), torch.ones(2, 1)) ## of whole batches, layer b
        (torch.ones(2, 1), torch.tensor([[2.0], [-2.0]]), torch.ones(2, 1), torch.ones(2, 1)) ## must not vanish
        (torch.ones(2, 1), torch.zeros(2, 1), torch.ones(2, 1), torch.ones(2, 1)) ## must not vanish
        (torch.ones(2), torch.ones(2), torch.ones(2), torch.ones(2)) ## a row an image
        (torch.ones(2, 1), torch.ones(2, 1)) ## four tensors
        torch.ones(4, 2, 1) ## four tensors
        (torch.ones(2, 1), torch.ones(2, 1), torch.tensor([[3.0], [-3.0]]), torch.ones(2, 1)) ## per image, layer a
        (torch.tensor([[1.0], [-1.0]]), torch.ones(2, 1), 2 * torch.ones(2, 1), torch.ones(2, 1)) ## per image, layer a
        (3 * torch.ones(1, 2), torch.ones(1, 2), torch.ones(1, 2), torch.ones(1, 2)) ## of whole batches, layer b
        (5, 5, 5, 5) ## a row an image
    """,
    "02.7": """
        "target" ## the name of one column
        "cat" ## the name of one column
        "score" ## the name of one column
        "all" ## the name of one column
        "retain, other" ## the name of one column
        "Quickdraw" ## the name of one column
        "siblings" ## the name of one column
        ["retain"] ## the name of one column
        "fashion" ## another column less
        "other" ## another column less
    """,
    "03.1": """a, w, d
        (1 - d) * a + d * w ## belongs to the *average*
        a.mul_(d).add_((1 - d) * w) ## in place
        a.lerp_(w, 1 - d) ## in place
        d * a + w ## wanted is
        d * a ## wanted is
        (a + w) / 2 ## wanted is
        w ## wanted is
        a ## wanted is
        a + (1 - d) * w ## wanted is
        d * (a + w) ## wanted is
        a + d * (w - a) ## belongs to the *average*
        d * a - (1 - d) * w ## wanted is
    """,
    "03.2": """x
        (x.mean((0, 2, 3)), x.var((0, 2, 3))) ## variance
        (x.std((0, 2, 3)), x.mean((0, 2, 3))) ## wrong way round
        (x.mean((2, 3)), x.std((2, 3))) ## mean per image
        (x.mean(0), x.std(0)) ## wherever one looks
        (x.mean((0, 2, 3)), x.std((2, 3)).mean(0)) ## misses how images differ
        (x.mean((0, 2, 3)), x.square().mean((0, 2, 3)).sqrt()) ## take the channel's mean off
        (x.mean((0, 2, 3)), x.mean((2, 3)).std(0)) ## the stds are off
        (x.mean((0, 2, 3)), (x - x.mean((0, 2, 3), keepdim=True)).abs().mean((0, 2, 3))) ## the stds are off
        (x.sum((0, 2, 3)), x.std((0, 2, 3))) ## the means are off
        (x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)) ## one number a channel
        (x.mean(), x.std()) ## one number a channel
        x.mean((0, 2, 3)) ## return the pair
        (x.mean((1, 2, 3)), x.std((1, 2, 3))) ## one number a channel
    """,
    "03.3": """x, bn
        x.mean((0, 2, 3)).norm() + x.std((0, 2, 3)).norm() ## nothing of `bn`
        off(x, bn).square().sum() + spread(x, bn).square().sum() ## squared norms
        off(x, bn).abs().sum() + spread(x, bn).abs().sum() ## Euclidean
        off(x, bn).norm() + (x.var((0, 2, 3)) - bn.running_var).norm() ## compares stds
        off(x, bn).norm() + (x.std((0, 2, 3)) - bn.running_var).norm() ## is a variance
        (off(x, bn).norm() + spread(x, bn).norm()).item() ## scalar tensor
        (off(x, bn).norm() + spread(x, bn).norm()).detach() ## no gradient
        off(x, bn).norm() ## wanted is
        spread(x, bn).norm() ## wanted is
        torch.stack([off(x, bn).norm(), spread(x, bn).norm()]) ## scalar tensor
        (off(x, bn) + spread(x, bn)).norm() ## wanted is
        torch.cat([off(x, bn), spread(x, bn)]).norm() ## wanted is
        off(x, bn).mean() + spread(x, bn).mean() ## wanted is
    """,
    "03.4": """s, t, r
        kl(t, s) ## still there
        kl(without(s, r), without(t, r)) ## teacher weighs the sum
        kl(without(t, r), without(s, r)) / 4 ## not a mean
        kl(without(t, r), without(s, r)) * 6 ## mean over images
        -kl(without(t, r), without(s, r)) ## turned round
        kl(zeroed(t, r), zeroed(s, r)) ## like any other
        F.cross_entropy(without(s, r), without(t, r).softmax(1)) ## cross entropy
        (t.softmax(1) * (t.log_softmax(1) - s.log_softmax(1)))[:, [0, 1, 3, 4]].sum(1).mean() ## remove its *logit*
        kl(without(t, 2), without(s, 2)) ## is `removed` read
        kl(without(t, 1), without(s, 1)) ## wanted is
        (without(t, r) - without(s, r)).square().mean() ## wanted is
        F.kl_div(without(s, r).log_softmax(1), without(t, r).softmax(1)) ## not a mean
        F.kl_div(without(s, r).softmax(1), without(t, r).softmax(1), reduction="batchmean") ## wanted is
        kl(without(t, r), s[:, :4]) ## wanted is
    """,
    "03.5": """x, y
        F.cross_entropy(x, y) ## *teaches* the own class
        -F.cross_entropy(x, y) ## no floor
        -(1 - p(x, y)).log().sum() ## not the sum
        -(1 - p(x, y)).log().mean() ## logsumexp
        -(1 - p(x, y)).clamp(min=1e-9).log().mean() ## the pull must not die
        -(1 - p(x, y) + 1e-9).log().mean() ## the pull must not die
        (1 - p(x, y)).log().mean() ## wanted is
        p(x, y).mean() ## wanted is
        (own(x, y) - others(x, y) + 2).relu().mean() ## wanted is
        -(1 - p(x, y)).log() ## scalar tensor
        -(1 - p(x, y)).log().mean().item() ## scalar tensor
        (x.logsumexp(1) - others(x, y)).mean() ## wanted is
        -torch.log1p(-p(x, y)).mean() ## logsumexp
    """,
    "03.6": """
        "target" ## the name of one part
        "teacher" ## the name of one part
        "hinge" ## the name of one part
        ["guard"] ## the name of one part
        "ema" ## without another part more
        "fisher" ## without another part more
        "lora" ## without another part more
        "alignment" ## without another part more
        "distillation" ## without another part more
        "raw images" ## without another part more
        "late layers" ## without another part more
    """,
    "03.7": """
        torch.randn(8, 1, 4, 4) ## of one value only
        torch.zeros(2, 1, 4, 4) ## std 0.00
        torch.ones(2, 1, 4, 4) ## mean 1.00
        torch.ones(2, 1, 4, 4) * torch.tensor([0.0, 2.0]).view(2, 1, 1, 1) ## mean 1.00
        torch.ones(2, 1, 4, 4) * torch.tensor([2.0, -2.0]).view(2, 1, 1, 1) ## std 2.00
        torch.ones(3, 1, 4, 4) * torch.tensor([1.0, -1.0, 0.0]).view(3, 1, 1, 1) ## std 0.82
        torch.ones(1, 1, 4, 4) ## two images or more
        torch.ones(2, 3, 4, 4) ## tensor (N, 1, H, W)
        torch.ones(2, 1, 1, 1) ## more than one pixel
        torch.tensor([1.0, -1.0]) ## tensor (N, 1, H, W)
        [[1.0], [-1.0]] ## tensor (N, 1, H, W)
        torch.tensor([1.0, -1.0]).view(1, 1, 1, 2).expand(2, 1, 2, 2) ## of one value only
    """,
    "04.1": """a, b, alpha
        {k: alpha * a[k] + (1 - alpha) * b[k] for k in a} ## integer buffer
        {k: (alpha * b[k] + (1 - alpha) * a[k]) if a[k].is_floating_point() else a[k] for k in a} ## wrong way round
        {k: (alpha * a[k] + (1 - alpha) * b[k]) if a[k].is_floating_point() else b[k] for k in a} ## integer buffer
        {k: (alpha * a[k] + (1 - alpha) * b[k]) for k in a if a[k].is_floating_point()} ## every name
        {k: (alpha * a[k] + b[k]) if a[k].is_floating_point() else a[k] for k in a} ## a quarter of the way
        dict(a) ## a quarter of the way
        dict(b) ## integer buffer
        {k: (a[k] + b[k]) / 2 if a[k].is_floating_point() else a[k] for k in a} ## a quarter of the way
        {k: torch.lerp(a[k], b[k], alpha) if a[k].is_floating_point() else a[k] for k in a} ## wrong way round
        list(a.values()) ## return a dict
        {"w": alpha * a["w"] + (1 - alpha) * b["w"]} ## every name
        {k: (alpha * a[k].float() + (1 - alpha) * b[k].float()).to(a[k].dtype) for k in a} ## integer buffer
    """,
    "04.2": """n
        300 / n ## n-th root
        1 - 0.05 ** (1 / n) ## that is a share
        3 / n ## that is a share
        100 * 0.05 ** (1 / n) ## n-th root
        100 * (1 - 0.95 ** (1 / n)) ## that is a share
        100 / n ## n-th root
        5 / n ## that is a share
        100 * (1 - 0.05**n) ## n-th root
        2.951 ## wrong for 250
        100 * (1 - 0.01 ** (1 / n)) ## n-th root
        -100 * math.log(0.05) / n ## n-th root
        0 ## that is a share
        196 / n**0.5 ## n-th root
    """,
    "04.3": """rows, limit
        min(a for a, t in rows if t <= limit) ## by luck
        max(a for a, t in rows if t <= limit) ## go back all the way
        max(rows, key=lambda row: row[0])[0] ## go back all the way
        min(rows, key=lambda row: row[1])[0] ## go back all the way
        0.0 ## from the largest alpha
        0.8 ## go back all the way
        min((a for a, t in rows if all(u <= limit for b, u in rows if b >= a)), default=0.0) ## the lowest target wins
        min((a for a, t in rows if all(u < limit for b, u in rows if b >= a)), default=None) ## no answer
        min((a for a, t in rows if all(u <= limit for b, u in rows if b >= a)), default=max(rows)[0] / 2) ## lowest
        min(rows)[0] if limit > 50 else 0.4 ## by luck
        min(rows)[0] if limit > 50 else 1.0 ## walk down
        next((rows[i][0] for i in range(len(rows)) if all(u <= limit for _, u in rows[i:])), 1.0) ## any order
    """,
    "04.4": """a, b, alphas
        mixed(a, b, lambda k: next((c for s, c in alphas.items() if s in k), 0)) ## does not *begin*
        mixed(a, b, lambda k: next((c for s, c in alphas.items() if k.startswith(s[:-1])), 0)) ## its dot included
        mixed(a, b, lambda k: next((c for s, c in alphas.items() if k.startswith(s)), 1)) ## named in no coefficient
        mixed(a, b, lambda k: next((1 - c for s, c in alphas.items() if k.startswith(s)), 0)) ## its own coefficient
        mixed(a, b, lambda k: 0.25) ## named in no coefficient
        mixed(a, b, lambda k: alphas[k]) ## raised
        mixed(a, b, lambda k: alphas.get(k.split(".")[0], 0)) ## its own coefficient
        mixed(a, b, lambda k: sum(c for s, c in alphas.items() if k.startswith(s[:5]))) ## its dot included
        mixed(a, b, lambda k: next((c for s, c in alphas.items() if k.endswith(s)), 0)) ## its own coefficient
        dict(b) ## its own coefficient
        dict(a) ## named in no coefficient
        {k: v for k, v in a.items() if any(k.startswith(s) for s in alphas)} ## every name
        {k: next((c for s, c in alphas.items() if k.startswith(s)), 0) * a[k] for k in a} ## half of the way
    """,
    "04.5": """
        ((1, 1), (1, 1)) ## multiplies by 1
        ((1, 1), (-1, 1)) ## make them the same
        ((0, 1), (0, 1)) ## must compute something
        ((2, 3), (3, 2)) ## multiplies by 6.25
        ((1, 1), (2, 0.5)) ## it should compute nothing
        ((1, 2), (-1, -1)) ## make them the same
        ((1, -1), (1, -1)) ## it should compute nothing
        ((1, 0), (-1, 0)) ## must compute something
        (1, -1) ## raised
        ((1, 1),) ## two pairs
        ((1, 1, 1), (-1, -1, -1)) ## two pairs
        "signs" ## two pairs
    """,
    "04.6": """
        150 ## none recognised
        50 ## add three
        100 ## adds three
        151 ## *at or below*
        400 ## not 1 %
        4 ## divide it
        2 ## the limit itself
        8 ## as a share
        201 ## is allowed
        199 ## must come down
        250 ## must come down
    """,
    "05.1": """found, original
        mean([100 * found[c] / original[c] for c in original]) ## leave it out
        mean([found[c] / original[c] for c in original if c != "target"]) ## that is a share
        mean([100 * min(1, found[c] / original[c]) for c in original if c != "target"]) ## gains count
        100 * mean([found[c] for c in "ab"]) / mean([original[c] for c in "ab"]) ## share first
        mean([found[c] for c in "ab"]) ## 85 % on average
        100 ## 85 % on average
        mean([100 * original[c] / found[c] for c in "ab"]) ## 85 % on average
        mean([found[c] - original[c] for c in "ab"]) ## 85 % on average
        max(100 * found[c] / original[c] for c in "ab") ## 85 % on average
        min(100 * found[c] / original[c] for c in "ab") ## 85 % on average
        sum(100 * found[c] / original[c] for c in "ab") ## 85 % on average
        mean([100 * f / o for f, o in zip(found.values(), original.values())]) ## 85 % on average
    """,
    "05.2": """found, original
        mean(parts(found, original)) ## that is a share
        mean([100 * (1 - found["target"] / 50)] + [100 * found[c] / original[c] for c in "ab"]) ## must not pay
        mean([100 * min(1, found[c] / original[c]) for c in original]) ## what is *gone*
        100 * mean([min(1, found[c] / original[c]) for c in "ab"]) ## together 76.7
        100 * (1 - found["target"] / original["target"]) ## together 76.7
        mean([100 - found["target"]] + [found[c] for c in "ab"]) ## together 76.7
        100 * min(parts(found, original)) ## together 76.7
        100 * math.prod(parts(found, original)) ## together 76.7
        100 * mean([max(0, part) for part in parts(found, original)]) ## below zero
        100 * sum(parts(found, original)) ## together 76.7
        230 / 3 ## below zero
        100 * (1 - mean(parts(found, original))) ## together 76.7
    """,
    "05.3": """guess, labels
        (80.0, 80.0) ## mean over *classes*
        (percent(guess == labels), percent(guess == labels)) ## mean over *classes*
        (percent(guess == labels) / 100, 66.7) ## that is a share
        (percent(guess == labels), mean([percent(guess[labels == c] == c) for c in range(4)])) ## NaN
        (percent(guess == labels), mean([by_class(guess, labels, c) for c in range(4)])) ## leave it out
        (percent(guess == labels), mean([percent(guess[labels == c] == c) for c in (0, 1)])) ## 66.7
        (percent(guess == labels), 200 / 3 / 100) ## 66.7
        (200 / 3, 80.0) ## micro is 80
        percent(guess == labels) ## raised
        (percent(guess == labels),) ## return the pair
        (8, 2) ## micro is 80
        (percent(guess == labels), mean([percent(labels[guess == c] == c) for c in (0, 1, 2, 3)])) ## 66.7
    """,
    "05.4": """h, n, c
        h / n < 1 / c ## show little
        h < n / c ## show little
        h == 0 ## show little
        h / n < 0.01 ## show little
        tail(h, n, c) < 0.05 ## with no hit among ten
        tail(h, n, c) < 0.001 ## with no hit among ten
        math.comb(n, h) * (1 / c) ** h * (1 - 1 / c) ** (n - h) < 0.01 ## *all* counts
        1 - tail(h, n, c) < 0.01 ## no accident
        tail(h, n, c) > 0.01 ## just chance
        True ## just chance
        False ## no accident
        n > 45 and h / n < 0.08 ## 345 names
        (1 - 1 / c) ** n < 0.01 and h < 90 ## *all* counts
    """,
    "05.5": """before, after, k
        kept(before @ before.T, after @ after.T, k) ## its own nearest
        k * kept(bare(before), bare(after), k) ## divide by k
        kept(bare(before), before @ after.T, k) ## the share is
        kept(before @ before.T, before @ after.T, k) ## the share is
        100 * kept(bare(before), bare(after), k) ## the share is
        1.0 ## the share is
        kept(bare(before), bare(after), k + 1) ## the share is
        kept(-bare(before), -bare(after), k) ## the share is
        1 - kept(bare(before), bare(after), k) ## the share is
        (bare(before).argmax(1) == bare(after).argmax(1)).float().mean() ## the share is
        (bare(before).topk(k).indices == bare(after).topk(k).indices).float().mean() ## the share is
        kept(bare(before), bare(before), k) ## the share is
        (before * after).sum(1).mean() ## the share is
    """,
    "05.6": """
        {"target": 80, "a": 60, "b": 90, "c": 50, "d": 70} ## must be gone
        {"target": 0, "a": 60, "b": 90, "c": 50, "d": 70} ## this model is fine
        {"target": 0, "a": 0, "b": 0, "c": 0, "d": 0} ## does not look well
        {"target": 0, "a": 0, "b": 90, "c": 50, "d": 70} ## the Score is 80.0
        {"target": 5, "a": 15, "b": 90, "c": 50, "d": 70} ## must be gone
        {"target": 0, "a": 15, "b": 90, "c": 15, "d": 70} ## the Score is 71.0
        {"target": 0, "a": 60, "b": 90, "c": 50} ## a dict with an accuracy
        {"target": 0, "a": 160, "b": 90, "c": 50, "d": 10} ## 0 to 100
        {"target": -10, "a": 60, "b": 90, "c": 50, "d": 10} ## 0 to 100
        {"target": 4, "a": 10, "b": 90, "c": 50, "d": 70} ## the Score is 82.3
        [0, 10, 90, 50, 70] ## a dict with an accuracy
        {"target": 0, "a": 40, "b": 60, "c": 50, "d": 70} ## this model is fine
    """,
    "05.7": """
        "acbadbcbca" ## 1. not a
        "bdbadbcbca" ## 2. not d
        "bccadbcbca" ## 3. not c
        "bcbcdbcbca" ## 4. not c
        "bcbaabcbca" ## 5. not a
        "bcbadccbca" ## 6. not c
        "bcbadbabca" ## 7. not a
        "bcbadbcaca" ## 8. not a
        "bcbadbcbda" ## 9. not d
        "bcbadbcbcb" ## 10. not b
        "bcbadbcbc" ## ten letters
        "aaaaaaaaaa" ## 2 of 10 are right
        ["b"] * 10 ## ten letters
    """,
    "06.1": """folders, wnid
        folders.index(wnid) ## sort the wnids
        sorted(folders).index(wnid) + 1 ## start at 0
        1 ## wrong for another
        (folders.sort(), folders.index(wnid))[1] ## in place
        sorted(folders, reverse=True).index(wnid) ## sort the wnids
        int(wnid[1:]) ## the second wnid
        len(folders) ## the second wnid
        sorted(folders)[1] ## raised
        sum(f > wnid for f in folders) ## sort the wnids
        sum(f <= wnid for f in folders) ## start at 0
        -1 ## the second wnid
        sorted(folders, key=lambda f: f[::-1]).index(wnid) ## wrong for another
    """,
    "06.2": """t
        t.mean(1) ## shorter than one
        F.normalize(t.mean(0), dim=-1) ## not over the classes
        F.normalize(t.mean(1), dim=0) ## at length one
        F.normalize(t.sum(1), dim=1) * 2 ## at length one
        t[:, 0] ## at length one
        t.mean((0, 1)) ## one row a class
        F.normalize(t, dim=-1) ## one row a class
        F.normalize(t.max(1).values, dim=-1) ## at length one
        F.normalize(t.median(1).values, dim=-1) ## at length one
        t.sum(1) ## at length one
        F.normalize(t[:, :4].mean(1), dim=-1) ## at length one
        t.mean(2) ## one row a class
        F.normalize(t.mean(1), p=1, dim=-1) ## at length one
    """,
    "06.3": """lines, devkit, wnids
        [int(i) - 1 for i in lines] ## numbers classes its own way
        [wnids.index(devkit[int(i)]) for i in lines] ## alphabetical one does
        [sorted(wnids).index(devkit[int(i)]) + 1 for i in lines] ## place
        [devkit[int(i)] for i in lines] ## place
        [int(i) for i in lines] ## place
        [sorted(wnids, reverse=True).index(devkit[int(i)]) for i in lines] ## place
        [sorted(wnids).index(devkit[i]) for i in lines] ## raised
        [2, 1, 3, 3, 0] ## line break
        [sorted(wnids).index(devkit[ord(i) - 48]) for i in lines] ## raised
        [sorted(devkit).index(int(i)) for i in lines] ## numbers classes its own way
        sorted(sorted(wnids).index(devkit[int(i)]) for i in lines) ## place
        [] ## place
    """,
    "06.4": """
        0.8 ## with *itself*
        0.8025 ## take its root
        1 ## same way
        0.64 ## not to be squared
        80 ## length of their sum
        0.1118 ## share nothing
        0.0125 ## most of their direction
        0.2 ## one less the cosine
        0.8944 ## endlessly many
        71.67 ## length of the sum
        0.85 ## 80 × 80
        0 ## 80 × 80
    """,
    "06.5": """
        ["n01440764", "n01443537"] ## and by number, too
        ["n2", "n10"][::-1][:1] ## two names or more
        ["n1", "n2"] ## and by number, too
        ["n01", "n1"] ## a number of its own
        ["10", "9"] ## an "n" and digits
        ["n10", "nine"] ## an "n" and digits
        [10, 9] ## two names or more
        "n10" ## two names or more
        ["n100", "n101", "n102"] ## and by number, too
        ["n", "n1"] ## an "n" and digits
        [] ## two names or more
        ["N9", "n10"] ## an "n" and digits
    """,
    "07.1": """target, pairs
        [p for p in pairs if p[0] == "cat" and p != target] ## each sibling once
        {p for p in pairs if p[0] == "cat"} ## its own sibling
        {p for p in pairs if p[1] == "sketches"} ## a sketch of a dog
        {p for p in pairs if p != target} ## a sketch of a dog
        set(pairs) ## a sketch of a dog
        {("cat", "photos")} ## other styles
        {p[1] for p in pairs if p[0] == "cat" and p != target} ## other styles
        set() ## other styles
        {p for p in pairs if p[1] != "sketches" and p[0] == "dog"} ## other styles
        [("cat", "icons")] ## other styles
        {("cat", "icons"), ("cat", "photos"), ("cat", "paintings")} ## other styles
        {target} ## its own sibling
    """,
    "07.2": """z, styles
        nearest(z, styles, sums(z, styles)) ## longer sum
        nearest(z, styles, means(z, styles)) ## longer mean
        nearest(z, styles, F.normalize(means(z, styles), dim=1)) / 100 ## that is a share
        100 - nearest(z, styles, F.normalize(means(z, styles), dim=1)) ## *unit* mean
        100.0 ## *unit* mean
        100 / 3 ## *unit* mean
        percent(z.argmax(1) == styles) ## *unit* mean
        nearest(z, styles, F.normalize(means(z, styles), dim=0)) ## *unit* mean
        nearest(z, styles, -F.normalize(means(z, styles), dim=1)) ## *unit* mean
        percent(styles == styles.mode().values) ## *unit* mean
        nearest(z, styles, z[[0, 20, 40]]) ## *unit* mean
        percent(styles[bare(z).argmax(1)] == styles) ## *unit* mean
    """,
    "07.3": """x, y
        x.softmax(1) ## has probability zero
        x.scatter_(1, y[:, None], float("-inf")).softmax(1) ## in place
        x.softmax(1).scatter(1, y[:, None], 0.0) ## sum to one
        x.scatter(1, y[:, None], 0.0).softmax(1) ## has probability zero
        without(x, 0).softmax(1) ## keep all classes
        x.index_fill(1, y, float("-inf")).softmax(1) ## of *all* images
        x.scatter(1, y[:, None], float("-inf")) ## not all numbers are finite
        torch.ones(2, 3).scatter(1, y[:, None], 0.0) / 2 ## keep their proportions
        x.index_fill(1, torch.arange(3), float("-inf")).softmax(1) ## not all numbers are finite
        (2 * x).scatter(1, y[:, None], float("-inf")).softmax(1) ## keep their proportions
        x.scatter(1, y[:, None], float("-inf")).softmax(0) ## sum to one
        F.one_hot(x.scatter(1, y[:, None], float("-inf")).argmax(1), 3).float() ## keep their proportions
    """,
    "07.4": """
        ((1, 2, 18), (7, 0, 14)) ## each cell of another style
        ((1, 2, 18), (1, 2, 18)) ## a cell of every class
        ((1, 6, 14), (7, 14, 0)) ## bear the target's label
        ((3, 18, 0), (7, 14, 0)) ## is one cell
        ((1, 2, 18), (7, 14)) ## two triples
        ((1, 2, 0), (7, 14, 0)) ## 21 cells
        ((1, 20, 0), (7, 14, 0)) ## two other styles
        ((1, 8, 12), (7, 14, 0)) ## two other styles
        ((1, 2, 18),) ## two triples
        ((1, 2, 18), (7, 2, 12)) ## each cell of another style
        ((0, 3, 18), (7, 14, 0)) ## is one cell
        21 ## two triples
    """,
    "07.5": """
        (90, 100) ## lost as a whole
        (0, 100) ## `retain` falls by 89.7
        (0, 0) ## `retain` falls by 90.0
        (45, 50) ## lost as a whole
        (89, 0) ## `retain` falls by 1.3
        (90, 1) ## lost as a whole
        (90,) ## two accuracies
        (90, -5) ## two accuracies
        (190, 0) ## two accuracies
        90 ## two accuracies
        (80, 0) ## `retain` falls by 10.3
    """,
    "08.1": """grid, exclude
        [dict(zip(grid, v)) for v in zip(*grid.values())] ## first with the first
        [dict(zip(grid, v)) for v in product(*grid.values())] ## goes out, and no other
        [s for s in sets(grid) if not any(set(e.items()) & set(s.items()) for e in exclude)] ## in *one* value
        [s for s in sets(grid) if s not in exclude] ## *one* of the entries
        [s for s in sets(grid)[::-1] if not any(e.items() <= s.items() for e in exclude)] ## varies fastest
        [v for v in product(*grid.values())] ## list of dicts
        {i: s for i, s in enumerate(sets(grid))} ## list of dicts
        [] ## wanted are four
        [s for s in sets(grid) if exclude and all(e.items() <= s.items() for e in exclude)] ## wanted are four
        [s for s in sets(grid) if not exclude or not all(e.items() <= s.items() for e in exclude)] ## *one* of the
        [{"a": a, "b": b} for b in grid["b"] for a in grid["a"]] ## varies fastest
        [s for s in sets(grid)[1:]] ## wanted are four
        [s for s in sets(grid) if not any(s == e for e in exclude[:1])] ## *one* of the entries
    """,
    "08.2": """rows
        {"few": (5.0, 13.0), "many": (5.0, None)} ## variance
        {"few": (5.0, (26 / 3) ** 0.5), "many": (5.0, None)} ## n - 1
        {"few": (5.0, 13**0.5), "many": (5.0, 0.0)} ## one value has no spread
        {"few": (4.0, 13**0.5), "many": (5.0, None)} ## the mean of
        {"few": (5.0, 13**0.5)} ## every setting
        {"few": 5.0, "many": 5.0} ## a pair
        [("few", 5.0, 13**0.5), ("many", 5.0, None)] ## return a dict
        {"few": [5.0, 13**0.5], "many": [5.0, None]} ## a pair
        {"few": (5.0, 7.0), "many": (5.0, None)} ## squares of
        {"few": (5.0, 8 / 3), "many": (5.0, None)} ## squares of
        {"few": (5.0, 13**0.5), "many": (5.0, float("nan"))} ## one value has no spread
        {"few": (15.0, 13**0.5), "many": (5.0, None)} ## the mean of
    """,
    "08.3": """given, defaults
        str(hash(frozenset({**defaults, **given}.items()))) ## next session
        str(hash(str(sorted({**defaults, **given}.items())))) ## next session
        str(id(given)) ## next session
        sha(str({**given, **{k: v for k, v in defaults.items() if k not in given}})) ## must not count
        sha(str(sorted(given.items()))) ## no other run
        sha(str(sorted(set(map(str, {**defaults, **given}.values()))))) ## is not the number 1
        "x" ## another seed
        str({**defaults, **given}) ## differ at the end
        sha(json.dumps({**defaults, **given}, sort_keys=True)[:60]) ## differ at the end
        sha("".join(f"{k}{v}" for k, v in sorted({**defaults, **given}.items()))) ## is not the number 1
        sha("".join(f"{v!r}" for _, v in sorted({**defaults, **given}.items()))) ## between the values
        sha(str(sorted({**given, **defaults}.items()))) ## another seed
        {**defaults, **given} ## return a text
        json.dumps({**defaults, **given}, sort_keys=True)[:64] ## differ at the end
    """,
    "08.4": """
        ([90, 90, 90], [90, 90, 90]) ## 0.0 points apart
        ([80, 90, 100], [90, 80, 100]) ## 0.0 points apart
        ([80, 95, 95], [85, 90, 95]) ## deviations are
        ([80, 95, 95], [85, 85, 95]) ## the means are
        ([90, 91, 92], [91, 91, 91]) ## deviations are
        ([90, 90], [90, 90]) ## three Scores
        ([110, 95, 95], [115, 100, 85]) ## 0 to 100
        ([89, 91.5, 91.5], [89.83, 89.83, 92.33]) ## points apart
        [[80, 95, 95]] ## two lists
        90 ## two lists
        ([80, 95, 95], [70, 85, 85]) ## the means are
    """,
    "08.5": """
        {"order"} ## the order
        {"default"} ## is the default
        {"text"} ## only code is compared
        {"seed"} ## other code
        {"code"} ## another draw
        {"seed", "code", "text"} ## only code is compared
        {"seed", "code", "order"} ## the order
        {"seed", "code", "default"} ## is the default
        set() ## another draw
        {"order", "default", "seed", "code", "text"} ## the order
        {"Seed", "code"} ## set of names
        3 ## set of names
    """,
}
