"""What `import spindle` stands on, one idea a file.

    api        what a task calls: progress, log, output, job        schema     what a signature says
    tasks      functions that jobs can name                         shapes     a type: its schema, and values of it
    values     strict JSON of any value                             models     pydantic's, if it is there
    worker     serves tasks over the worker protocol                channel    whole lines to the server
    streams    what is printed is the log of who prints it          threads    belong to the call that starts them
    processes  too, and end with it                                 zygote     a start without the imports
    program    `python3 spindle.py FILE`                            state      what the server sees of a worker, memory to memory
"""
