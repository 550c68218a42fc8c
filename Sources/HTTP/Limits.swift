/// What one client may ask of the server. Every bound of the HTTP side stands here.
package struct Limits: Sendable {
    /// Request line and fields together, in bytes.
    package var headBytes = 16 * 1024
    package var targetBytes = 8 * 1024
    package var fields = 64
    package var bodyBytes = 1024 * 1024
    /// One chunk-size line, in bytes, its extensions included.
    package var chunkLineBytes = 64
    /// All trailer fields together, in bytes; they are read and dropped.
    package var trailerBytes = 2 * 1024
    /// Bytes of the next requests that are held while one is being answered.
    package var heldBytes = 16 * 1024

    /// Open at once, over all loops.
    package var connections = 20_000
    /// The same for one client that is not on loopback or a unix socket, on each loop.
    package var connectionsPerClient = 256
    package var requestsPerConnection = 1_000_000_000

    /// From a request's first byte to the end of its head.
    package var headTime = Duration.seconds(10)
    /// A body may take this long, and one second more for each ``bodyBytesPerSecond``.
    package var bodyTime = Duration.seconds(10)
    package var bodyBytesPerSecond = 1024
    package var keepAliveTime = Duration.seconds(60)
    /// Longest time in which a client that has bytes waiting takes none.
    package var stalledWriteTime = Duration.seconds(30)

    /// Who has finished sending and waits for an answer is asked after this time whether it is still there, and after four times
    /// as long again and again.
    package var probeTime = Duration.seconds(2)

    /// Unsent bytes over which a stream stops pulling events, and under which it resumes.
    package var streamHighWater = 256 * 1024
    package var streamLowWater = 64 * 1024
    /// Unsent bytes over which a stream is closed; its client resumes by `Last-Event-ID`.
    package var streamMaximum = 1024 * 1024

    package init() {}

    /// The deadlines in nanoseconds: a `Duration` has 128 bits, and to divide them costs what a whole deadline may not.
    struct Nanoseconds: Sendable {
        let head, body, keepAlive, stalledWrite, probe: Int64

        init(_ limits: Limits) {
            head = limits.headTime.wholeNanoseconds
            body = limits.bodyTime.wholeNanoseconds
            keepAlive = limits.keepAliveTime.wholeNanoseconds
            stalledWrite = limits.stalledWriteTime.wholeNanoseconds
            probe = limits.probeTime.wholeNanoseconds
        }
    }
}

extension Duration {
    var wholeNanoseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}
