"""What `import spindle` stands on, one idea a file.

    api       what a task calls: progress, log, output, job          schema    JSON Schemas of annotations
    tasks     functions that jobs can name                           worker    serves them over the worker protocol
    zygote    a start without the imports                            program   `python3 spindle.py FILE`
"""
