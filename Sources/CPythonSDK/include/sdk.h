// The Python side of the worker protocol, as one file of source.
#pragma once
#include <stddef.h>

extern const unsigned char *const python_sdk_bytes;
extern const size_t python_sdk_size;
