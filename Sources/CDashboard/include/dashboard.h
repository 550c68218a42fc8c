#pragma once
#include <stddef.h>

/// One file of `public/`, compiled into the binary.
struct dashboard_file {
    const char *path;  ///< As in the URL, beginning with "/".
    const unsigned char *bytes;
    size_t count;
};

extern const size_t dashboard_file_count;
/// NULL beyond the last.
const struct dashboard_file *dashboard_file_at(size_t index);
