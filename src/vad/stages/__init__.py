"""The four stages, as packages: `vad.stages.extract`, `.train`, `.infer` and `.pipelines`.

Each is a link to the folder of that name at the top of the repository. The verbs, such as
`vad.extract(...)`, are functions of `vad.verbs`.
"""
