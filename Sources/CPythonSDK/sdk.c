// spindle.py, inside the binary: a server needs nothing but itself to run Python tasks.
#include "sdk.h"

// The compiler knows #embed in every dialect, and warns in all but the newest.
#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char source[] = {
#embed "../Python/spindle.py"
};

const unsigned char *const python_sdk_bytes = source;
const size_t python_sdk_size = sizeof source;
