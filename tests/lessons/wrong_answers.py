"""Wrong answers to every exercise, each with words of the hint that it must get.

A line without indent is an exercise, with the arguments of its answer where that is a function; an indented one is an
answer, or the body of that function. `##` parts it from the words.
"""

WRONG = """
01.1
    Subgroup("automobile", ("truck",)) ## the target is 'automobile'
    Subgroup("truck", ("ship",)) ## only sibling
    ("truck", ("automobile",)) ## make a `Subgroup
01.2 z, head, labels
    percent((z @ head.T).argmax(1) == labels) / 100 ## that is a share
    percent(z.argmax(1) == labels) ## the head is not read
    percent((z @ head.T).argmin(1) == labels) ## *least*
    percent((head @ z.T).argmax(1) == labels) ## raised
    percent((z @ head.T).argmax(1) == torch.tensor([0, 0, 0, 1, 1, 1, 2, 1])[: len(z)]) ## are they read
01.3 a, b
    len({x.tobytes() for x in a} & {y.tobytes() for y in b}) ## counts twice
    sum(y.sum() in {x.sum() for x in a} for y in b) ## every pixel in its place
    sum((x == y).all() for x, y in zip(a, b)) ## another place
    4 ## an empty set
01.4 z, centres
    centres ## have not moved
    torch.stack([z[(z @ centres.T).argmax(1) == j].mean(0) for j in range(2)]) ## left the sphere
    F.normalize(z.view(2, 2, 2).mean(1), dim=1) ## *most similar*
    z ## return the centres
01.5
    torch.eye(2) ## has length 0.71
    torch.tensor([[2.0, 0.0], [-2.0, 0.0]]) ## length one
01.6
    0.55 ## that is a share
    50 ## still guesses
    60 ## other half
    10 ## what it is worth
02.1
    ("aligned", {"aligned": 80}) ## run it first
    ("both", {"aligned": 80, "raw": 90}) ## give one name out of
    ("aligned", {"aligned": 80, "raw": 90}) ## came out aligned 80.0, raw 90.0
02.2
    "lora" ## lower without another part
    "guard" ## give one name out of
03.1 g
    g.mean(0).square().sum() ## cancelled
    g.square().sum() ## sum over samples
    g.square().mean() ## *sum* over the layer's weights
    g.norm(dim=1).mean() ## not squared
    g.square().mean() * 3 ## wrong for 3 of 1
03.2 w, a, b, s
    w.add_(s * (b @ a).view_as(w)) ## in place
    w + (b @ a).view_as(w) ## scale
    w + s * (b @ a).view(1, 1, 2, 2).permute(0, 3, 1, 2) ## without permuting
    (w.flatten(1) + s * b @ a) ## comes out
03.3 x, y, m
    (own(x, y) - others(x, y) + m).mean() ## zero, not negative
    (own(x, y) - x.max(1).values + m).relu().mean() ## among the others
    (own(x, y) - x.scatter(1, y[:, None], 0.0).max(1).values + m).relu().mean() ## a logit of zero
    (own(x, y) - others(x, y)).relu().mean() ## where is the margin
    (own(x, y) - others(x, y) + m).relu().sum() ## mean over images
    (x[:, 0] - x[:, 1:].max(1).values + m).relu().mean() ## are both read
03.4 recognised, limit
    next((i for i, r in enumerate(recognised) if r < limit), -1) ## *at most* the limit
    next((i + 1 for i, r in enumerate(recognised) if r <= limit), -1) ## counted from 0
    int(np.argmin(recognised)) if len(recognised) else -1 ## not the lowest
    max((i for i, r in enumerate(recognised) if r <= limit), default=-1) ## last check within
    next((i for i, r in enumerate(recognised) if r <= limit), len(recognised)) ## it is -1
    next((i for i, r in enumerate(recognised) if i and r <= limit), -1) ## at once
03.5
    {"similarity", "hinge"} ## the hinge is flat
    {"ascent"} ## never stops pulling
    {"similarity"} ## ascent pulls
    "similarity" ## set of names
03.6
    (torch.ones(2, 1), torch.ones(2, 1), torch.ones(2, 1), torch.ones(2, 1)) ## per image, layer a
    (2 * torch.ones(2, 1), torch.ones(2, 1), torch.ones(2, 1), torch.ones(2, 1)) ## of whole batches, layer b
    (torch.ones(2, 1), torch.tensor([[2.0], [-2.0]]), torch.ones(2, 1), torch.ones(2, 1)) ## must not vanish
    (torch.ones(2, 1), torch.ones(2, 1)) ## four tensors
03.7
    "largest" ## give the pair
    ("largest", {}) ## run it first
    ("most", {"largest": 80, "smallest": 90}) ## give one name out of
    ("largest", {"largest": 80, "smallest": 90}) ## came out largest 80.0, smallest 90.0
04.1 x
    (x.mean((0, 2, 3)), x.var((0, 2, 3))) ## variance
    (x.mean((0, 2, 3)), x.square().mean((0, 2, 3)).sqrt()) ## take the channel's mean off
    (x.mean((0, 2, 3)), x.std((2, 3)).mean(0)) ## all images at once
    (x.std((0, 2, 3)), x.mean((0, 2, 3))) ## first the mean
    (x.mean((2, 3)), x.std((2, 3))) ## all positions
    x.mean((0, 2, 3)) ## return the pair
04.2 x, bn
    off(x, bn).square().sum() + spread(x, bn).square().sum() ## squared norms
    off(x, bn).norm() + (x.var((0, 2, 3)) - bn.running_var).norm() ## compares stds
    off(x, bn).norm() + (x.std((0, 2, 3)) - bn.running_var).norm() ## is a variance
    (off(x, bn).norm() + spread(x, bn).norm()).detach() ## no gradient
04.3
    torch.randn(8, 1, 4, 4) ## of one value only
    torch.zeros(2, 1, 4, 4) ## std 0.00
04.4
    ("aligned", {"aligned": 40}) ## run it first
    ("aligned", {"aligned": 40, "random": 80}) ## grain without aim
05.1 s, t, r
    kl(t, s) ## still there
    kl(without(s, r), without(t, r)) ## teacher weighs the sum
    (t.softmax(1) * (t.log_softmax(1) - s.log_softmax(1)))[:, [0, 1, 3, 4]].sum(1).mean() ## remove its *logit*
    kl(zeroed(t, r), zeroed(s, r)) ## like any other
    kl(without(t, r), without(s, r)) / 4 ## a sum over classes
    kl(without(t, 2), without(s, 2)) ## is `removed` read
05.2 x, y
    F.cross_entropy(x, y) ## *teaches* the own class
    -F.cross_entropy(x, y) ## no floor
    -(1 - p(x, y)).log().sum() ## not the sum
    -(1 - p(x, y)).log().mean() ## logsumexp
    -(1 - p(x, y)).clamp(min=1e-9).log().mean() ## must not die
05.3
    "teacher" ## one name out of
    "mmd" ## without another part more
05.4
    ("retain", {"retain": 0.1}) ## two names or more
    ("retain", {"retain": 0.1, "emoji": 3}) ## falls first
06.1 a, b, alpha
    {k: alpha * a[k] + (1 - alpha) * b[k] for k in a} ## integer buffer
    {k: (alpha * b[k] + (1 - alpha) * a[k]) if a[k].is_floating_point() else a[k] for k in a} ## wrong way round
    {k: a[k].mul_(alpha).add_((1 - alpha) * b[k]) if a[k].is_floating_point() else a[k] for k in a} ## in place
    {"w": alpha * a["w"] + (1 - alpha) * b["w"]} ## every name
06.2 n
    1 - 0.05 ** (1 / n) ## that is a share
    300 / n ## n-th root
06.3 rows, limit
    min(a for a, t in rows if t <= limit) ## by luck
    min((a for a, t in rows if all(u < limit for b, u in rows if b >= a)), default=1.0) ## at most
    next((rows[i][0] for i in range(len(rows)) if all(u <= limit for _, u in rows[i:])), 1.0) ## any order
    min((a for a, t in rows if all(u <= limit for b, u in rows if b >= a)), default=0.0) ## the lowest target wins
06.4 a, b, alphas
    mixed(a, b, lambda k: next((c for s, c in alphas.items() if k.startswith(s)), 1)) ## named in no coefficient
    mixed(a, b, lambda k: next((c for s, c in alphas.items() if s in k), 0)) ## does not *begin*
    mixed(a, b, lambda k: next((c for s, c in alphas.items() if k.startswith(s[:-1])), 0)) ## its dot included
    dict(b) ## its own coefficient
06.5
    ((1, 1), (-1, 1)) ## make them the same
    ((0, 1), (0, 1)) ## must compute something
    ((2, 3), (3, 2)) ## multiplies by 6.25
    ((1e-4, 1e-4), (1e-4, 1e-4)) ## it should compute nothing
06.6
    ("weights", {"weights": 9}) ## run it first
    ("weights", {"weights": 9, "embeddings": 30}) ## not linear
    ("embeddings", {"weights": 30, "embeddings": 9}) ## not linear
07.1 found, original
    mean(parts(found, original)) ## that is a share
    mean([100 * (1 - found["target"] / 50)] + [100 * found[c] / original[c] for c in "ab"]) ## must not pay
    mean([100 * min(1, found[c] / original[c]) for c in original]) ## what is *gone*
    100 * mean([max(0, part) for part in parts(found, original)]) ## below zero
07.2 h, n, c
    h / n < 1 / c ## show little
    tail(h, n, c) < 0.05 ## the limit is 1 %
    math.comb(n, h) * (1 / c) ** h * (1 - 1 / c) ** (n - h) < 0.01 ## *all* counts
    True ## just chance
07.3 before, after, k
    kept(before @ before.T, after @ after.T, k) ## its own nearest
    k * kept(bare(before), bare(after), k) ## divide by k
07.4
    {"target": 80, "a": 60, "b": 90, "c": 50, "d": 70} ## must be gone
    {"target": 0, "a": 60, "b": 90, "c": 50, "d": 70} ## this model is fine
    {"target": 0, "a": 15, "b": 90, "c": 15, "d": 70} ## the Score is 71.0
07.5
    "without" ## give the pair
    ("without", {}) ## run it first
    ("more", {"with": 30, "without": 80}) ## give one name out of
    ("with", {"with": 30, "without": 80}) ## came out with 30.0, without 80.0
07.6
    "acabdcbbca" ## 1. not a
    "bcabdcbbcb" ## 10. not b
    "bcbadbcbc" ## ten letters
08.1 folders, wnid
    folders.index(wnid) ## sort the wnids
    sorted(folders).index(wnid) + 1 ## start at 0
    (folders.sort(), folders.index(wnid))[1] ## in place
    1 ## wrong for another
08.2 t
    t.mean(1) ## shorter than one
    F.normalize(t.mean(0), dim=-1) ## over the prompts
    t.mean((0, 1)) ## one row a class
08.3 lines, devkit, wnids
    [int(i) - 1 for i in lines] ## numbers classes its own way
    [wnids.index(devkit[i]) for i in lines] ## alphabetical one does
    [sorted(wnids).index(devkit[i]) for i in lines] ## raised KeyError
    [2, 1, 3, 3, 0] ## line break
08.4
    0.8 ## with *itself*
    0.8025 ## take its root
    0.1118 ## share nothing
    0.8944 ## endlessly many
08.5
    ["n01440764", "n01443537"] ## and by number, too
    ["10", "9"] ## an "n" and digits
    "n10" ## two names or more
09.1 target, pairs
    {p for p in pairs if p != target} ## a sketch of a dog
    {p for p in pairs if p[0] == "cat"} ## its own sibling
    [p for p in pairs if p[0] == "cat" and p != target] ## each sibling once
09.2
    ((3, 18, 0), (7, 14, 0)) ## is one cell
    ((1, 6, 14), (7, 14, 0)) ## two other styles
    ((1, 2, 18), (1, 2, 18)) ## a cell of every class
    ((1, 2, 18), (7, 0, 14)) ## each cell of another style
09.3
    (90, 100) ## lost as a whole
    (0, 100) ## `retain` falls by 89.7
09.4
    ("plane edit", {"guard": 90, "plane edit": 4}) ## at every step
10.1 grid, exclude
    [dict(zip(grid, v)) for v in zip(*grid.values())] ## first with the first
    [{"a": a, "b": b} for b in grid["b"] for a in grid["a"]] ## varying fastest
    [s for s in sets(grid) if not any(set(e.items()) & set(s.items()) for e in exclude)] ## in *all* its values
    [s for s in sets(grid) if s not in exclude] ## *one* of the entries
10.2
    {"order", "seed", "code"} ## known by its values
    {"text"} ## only code is compared
    {"code"} ## another draw
    {"seed"} ## other code
10.3
    ("late", {"late": 60, "early": 80}) ## past the stop
11.1 gap, share
    torch.quantile(gap, 1 - share) ## turned round
    -torch.quantile(gap, share) ## where 10% should
11.2 positive, negative
    (positive[:, None] < negative).double().mean() + 1 / 40 ## turned round
    (positive[:, None] > negative).double().mean() ## a tie counts half.
    (positive[:, None] >= negative).double().mean() ## not whole
11.3 original, oracle, unlearned
    (unlearned - oracle) / (original - oracle) ## that is a share
    100 * unlearned / original ## with the original alone
    100 * (unlearned - oracle) / (original - oracle) ## not less
    max(0, 100 * (unlearned - oracle) / (original - oracle)) if original != oracle else 0 ## is not it
    max(0, 100 * (unlearned - oracle) / (original - oracle)) if original >= oracle else 0 ## ZeroDivisionError
11.4
    ("raw", {"raw": 50, "aligned": 80}) ## by that alone
"""
