// The Python side of the worker protocol, inside the binary: a server needs nothing but itself to run Python tasks.
#include "sdk.h"

// The compiler knows #embed in every dialect, and warns in all but the newest.
#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char spindle_py[] = {
#embed "../Python/spindle.py"
};
static const unsigned char spindle__init_py[] = {
#embed "../Python/_spindle/__init__.py"
};
static const unsigned char spindle_api_py[] = {
#embed "../Python/_spindle/api.py"
};
static const unsigned char spindle_program_py[] = {
#embed "../Python/_spindle/program.py"
};
static const unsigned char spindle_schema_py[] = {
#embed "../Python/_spindle/schema.py"
};
static const unsigned char spindle_tasks_py[] = {
#embed "../Python/_spindle/tasks.py"
};
static const unsigned char spindle_worker_py[] = {
#embed "../Python/_spindle/worker.py"
};
static const unsigned char spindle_zygote_py[] = {
#embed "../Python/_spindle/zygote.py"
};

#define FILE_OF(path, name) {path, name, sizeof name}

static const struct python_sdk_file files[] = {
    FILE_OF("spindle.py", spindle_py),
    FILE_OF("_spindle/__init__.py", spindle__init_py),
    FILE_OF("_spindle/api.py", spindle_api_py),
    FILE_OF("_spindle/program.py", spindle_program_py),
    FILE_OF("_spindle/schema.py", spindle_schema_py),
    FILE_OF("_spindle/tasks.py", spindle_tasks_py),
    FILE_OF("_spindle/worker.py", spindle_worker_py),
    FILE_OF("_spindle/zygote.py", spindle_zygote_py),
};

const struct python_sdk_file *const python_sdk_files = files;
const size_t python_sdk_count = sizeof files / sizeof files[0];
