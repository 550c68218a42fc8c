#pragma once
#include <stddef.h>

/// One file of `public/`, compiled into the binary.
struct dashboard_file {
    const char *path;          ///< As in the URL, beginning with "/".
    const char *content_type;
    const unsigned char *bytes;
    size_t count;
};

extern const struct dashboard_file dashboard_files[];
extern const size_t dashboard_file_count;
