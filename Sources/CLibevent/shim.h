#pragma once
// First, so that event-config.h cannot switch on _GNU_SOURCE: glibc's types must look as they do in Swift's own Glibc module.
#include <features.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <sys/eventfd.h>
