/// Where a line of a job comes from, by the name that an event has: `stdout`, `stderr`, `log`, what a worker calls it, or ours.
package enum LogStream {
    /// What is said of an attempt, and not by it: an event, but no line of its log.
    package static let control = "control"
}
