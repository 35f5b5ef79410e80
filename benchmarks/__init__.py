"""What makes docs/results, and README's and the docs' tables and figures; not in the wheel.

| module        | what it holds                                                                                  |
|---------------|------------------------------------------------------------------------------------------------|
| `baselines/`  | sixteen other methods                                                                          |
| `benchmark`   | every method on every kind of subgroup; the search of their settings                           |
| `ablations`   | the recipes without one of their parts                                                         |
| `attacks`     | what an attacker finds of a target, as columns of a row                                        |
| `plane`       | how far a plane through the original's embeddings tells a target from siblings of its label    |
| `audit`       | whole audits of some methods, and of the oracles                                               |
| `studies`     | the quickstart's rows, requests one after another, paths to the original, sensitivity, cost    |
| `real_clip`   | the method on a real CLIP                                                                      |
| `pretraining/`| how mini-CLIP and its oracles were made, and what they recognise                               |
| `bridge`      | facts of mini-CLIP beside RN50 and ViT-B/16, for lesson 05                                     |
| `notebooks`   | executes the lessons as they are committed                                                     |
| `rows`        | rows in a CSV file that is whole at every moment                                               |
| `tables/`     | from rows to tables in Markdown; `figures`: to pictures                                        |
"""
