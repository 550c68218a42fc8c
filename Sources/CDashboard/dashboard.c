// The pages of public/, inside the binary: the server works from any directory and offline.
#include "dashboard.h"

// The compiler knows #embed in every dialect, and warns in all but the newest.
#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char index_html[] = {
#embed "../../public/index.html"
};
static const unsigned char spindle_css[] = {
#embed "../../public/spindle.css"
};
static const unsigned char spindle_js[] = {
#embed "../../public/spindle.js"
};

static const struct dashboard_file files[] = {
    {"/", index_html, sizeof index_html},
    {"/spindle.css", spindle_css, sizeof spindle_css},
    {"/spindle.js", spindle_js, sizeof spindle_js},
};

const size_t dashboard_file_count = sizeof files / sizeof files[0];

const struct dashboard_file *dashboard_file_at(size_t index) {
    return index < dashboard_file_count ? &files[index] : NULL;
}
