#pragma once
#include <curl/curl.h>

// curl_easy_setopt and friends are variadic, which Swift cannot call: one spelling for each kind of argument.
static inline CURLcode curl_set_long(CURL *easy, CURLoption option, long value) { return curl_easy_setopt(easy, option, value); }
static inline CURLcode curl_set_pointer(CURL *easy, CURLoption option, const void *value) { return curl_easy_setopt(easy, option, value); }
static inline CURLcode curl_set_write(CURL *easy, CURLoption option, curl_write_callback value) { return curl_easy_setopt(easy, option, value); }
static inline CURLcode curl_set_opensocket(CURL *easy, curl_opensocket_callback value) { return curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, value); }
static inline CURLcode curl_get_long(CURL *easy, CURLINFO info, long *value) { return curl_easy_getinfo(easy, info, value); }
static inline CURLcode curl_get_double(CURL *easy, CURLINFO info, double *value) { return curl_easy_getinfo(easy, info, value); }
static inline CURLcode curl_get_pointer(CURL *easy, CURLINFO info, void *value) { return curl_easy_getinfo(easy, info, value); }
static inline CURLMcode curl_multi_set_socket(CURLM *multi, curl_socket_callback value, void *context) {
    CURLMcode code = curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, value);
    return code ? code : curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, context);
}
static inline CURLMcode curl_multi_set_timer(CURLM *multi, curl_multi_timer_callback value, void *context) {
    CURLMcode code = curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, value);
    return code ? code : curl_multi_setopt(multi, CURLMOPT_TIMERDATA, context);
}
