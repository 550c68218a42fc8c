// The Python side of the worker protocol: its files.
#pragma once
#include <stddef.h>

struct python_sdk_file {
    /// Relative to the directory that is to be found by `import`.
    const char *path;
    const unsigned char *bytes;
    size_t size;
};

extern const struct python_sdk_file *const python_sdk_files;
extern const size_t python_sdk_count;
