"""What makes docs/results, and README's and the docs' tables and figures; not in the wheel.

| module        | what it holds                                                                                  |
|---------------|------------------------------------------------------------------------------------------------|
| `results`     | makes every row that the pages need, in one command                                            |
| `studies`     | what is measured: a file each, its runs, and what makes a row; the smaller studies themselves  |
| `benchmark`   | every method on every kind of subgroup; the search of their settings                           |
| `baselines/`  | other methods                                                                                  |
| `ablations`   | the recipes without one of their parts                                                         |
| `attacks`     | what an attacker finds of a target, as columns of a row                                        |
| `plane`       | how far a plane through the original's embeddings tells a target from siblings of its label    |
| `audit`       | whole audits of some methods, and of the oracles                                               |
| `real_clip`   | the method on a real CLIP                                                                      |
| `pretraining/`| how mini-CLIP and its oracles were made, and what they recognise                               |
| `bridge`      | facts of mini-CLIP beside RN50 and ViT-B/16, for lesson 08                                     |
| `notebooks`   | executes the lessons as they are committed                                                     |
| `rows`        | rows in a CSV file that is whole at every moment; `made_by`: the code that made a row          |
| `tables/`     | from rows to tables and numbers in Markdown; `figures`: to pictures                            |
"""
