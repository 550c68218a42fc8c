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
static const unsigned char app_js[] = {
#embed "../../public/app.js"
};
static const unsigned char api_js[] = {
#embed "../../public/api.js"
};
static const unsigned char charts_js[] = {
#embed "../../public/charts.js"
};
static const unsigned char colours_js[] = {
#embed "../../public/colours.js"
};
static const unsigned char compare_js[] = {
#embed "../../public/compare.js"
};
static const unsigned char dom_js[] = {
#embed "../../public/dom.js"
};
static const unsigned char errors_js[] = {
#embed "../../public/errors.js"
};
static const unsigned char fit_js[] = {
#embed "../../public/fit.js"
};
static const unsigned char form_js[] = {
#embed "../../public/form.js"
};
static const unsigned char job_js[] = {
#embed "../../public/job.js"
};
static const unsigned char jobs_js[] = {
#embed "../../public/jobs.js"
};
static const unsigned char live_js[] = {
#embed "../../public/live.js"
};
static const unsigned char overview_js[] = {
#embed "../../public/overview.js"
};
static const unsigned char timeline_js[] = {
#embed "../../public/timeline.js"
};
static const unsigned char try_js[] = {
#embed "../../public/try.js"
};

static const struct dashboard_file files[] = {
    {"/", index_html, sizeof index_html},
    {"/spindle.css", spindle_css, sizeof spindle_css},
    {"/app.js", app_js, sizeof app_js},
    {"/api.js", api_js, sizeof api_js},
    {"/charts.js", charts_js, sizeof charts_js},
    {"/colours.js", colours_js, sizeof colours_js},
    {"/compare.js", compare_js, sizeof compare_js},
    {"/dom.js", dom_js, sizeof dom_js},
    {"/errors.js", errors_js, sizeof errors_js},
    {"/fit.js", fit_js, sizeof fit_js},
    {"/form.js", form_js, sizeof form_js},
    {"/job.js", job_js, sizeof job_js},
    {"/jobs.js", jobs_js, sizeof jobs_js},
    {"/live.js", live_js, sizeof live_js},
    {"/overview.js", overview_js, sizeof overview_js},
    {"/timeline.js", timeline_js, sizeof timeline_js},
    {"/try.js", try_js, sizeof try_js},
};

const size_t dashboard_file_count = sizeof files / sizeof files[0];

const struct dashboard_file *dashboard_file_at(size_t index) {
    return index < dashboard_file_count ? &files[index] : NULL;
}
