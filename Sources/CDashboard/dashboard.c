// The pages of public/, inside the binary: the server works from any directory and offline.
#include "dashboard.h"

static const unsigned char index_html[] = {
#embed "../../public/index.html"
};
static const unsigned char spindle_css[] = {
#embed "../../public/spindle.css"
};
static const unsigned char spindle_js[] = {
#embed "../../public/spindle.js"
};

const struct dashboard_file dashboard_files[] = {
    {"/", "text/html; charset=utf-8", index_html, sizeof index_html},
    {"/spindle.css", "text/css; charset=utf-8", spindle_css, sizeof spindle_css},
    {"/spindle.js", "text/javascript; charset=utf-8", spindle_js, sizeof spindle_js},
};
const size_t dashboard_file_count = sizeof dashboard_files / sizeof dashboard_files[0];
