// The Python side of the worker protocol, inside the binary: a server needs nothing but itself to run Python tasks.
#include "sdk.h"

// The compiler knows #embed in every dialect, and warns in all but the newest.
#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char facade_py[] = {
#embed "../Python/spindle.py"
};
static const unsigned char package_py[] = {
#embed "../Python/_spindle/__init__.py"
};
static const unsigned char allowance_py[] = {
#embed "../Python/_spindle/allowance.py"
};
static const unsigned char api_py[] = {
#embed "../Python/_spindle/api.py"
};
static const unsigned char channel_py[] = {
#embed "../Python/_spindle/channel.py"
};
static const unsigned char digits_py[] = {
#embed "../Python/_spindle/digits.py"
};
static const unsigned char models_py[] = {
#embed "../Python/_spindle/models.py"
};
static const unsigned char processes_py[] = {
#embed "../Python/_spindle/processes.py"
};
static const unsigned char program_py[] = {
#embed "../Python/_spindle/program.py"
};
static const unsigned char schema_py[] = {
#embed "../Python/_spindle/schema.py"
};
static const unsigned char shapes_py[] = {
#embed "../Python/_spindle/shapes.py"
};
static const unsigned char state_py[] = {
#embed "../Python/_spindle/state.py"
};
static const unsigned char streams_py[] = {
#embed "../Python/_spindle/streams.py"
};
static const unsigned char surroundings_py[] = {
#embed "../Python/_spindle/surroundings.py"
};
static const unsigned char tasks_py[] = {
#embed "../Python/_spindle/tasks.py"
};
static const unsigned char threads_py[] = {
#embed "../Python/_spindle/threads.py"
};
static const unsigned char values_py[] = {
#embed "../Python/_spindle/values.py"
};
static const unsigned char worker_py[] = {
#embed "../Python/_spindle/worker.py"
};
static const unsigned char zygote_py[] = {
#embed "../Python/_spindle/zygote.py"
};

#define FILE_OF(path, bytes) {path, bytes, sizeof bytes}

static const struct python_sdk_file files[] = {
    FILE_OF("spindle.py", facade_py),
    FILE_OF("_spindle/__init__.py", package_py),
    FILE_OF("_spindle/allowance.py", allowance_py),
    FILE_OF("_spindle/api.py", api_py),
    FILE_OF("_spindle/channel.py", channel_py),
    FILE_OF("_spindle/digits.py", digits_py),
    FILE_OF("_spindle/models.py", models_py),
    FILE_OF("_spindle/processes.py", processes_py),
    FILE_OF("_spindle/program.py", program_py),
    FILE_OF("_spindle/schema.py", schema_py),
    FILE_OF("_spindle/shapes.py", shapes_py),
    FILE_OF("_spindle/state.py", state_py),
    FILE_OF("_spindle/streams.py", streams_py),
    FILE_OF("_spindle/surroundings.py", surroundings_py),
    FILE_OF("_spindle/tasks.py", tasks_py),
    FILE_OF("_spindle/threads.py", threads_py),
    FILE_OF("_spindle/values.py", values_py),
    FILE_OF("_spindle/worker.py", worker_py),
    FILE_OF("_spindle/zygote.py", zygote_py),
};

const struct python_sdk_file *const python_sdk_files = files;
const size_t python_sdk_count = sizeof files / sizeof files[0];
