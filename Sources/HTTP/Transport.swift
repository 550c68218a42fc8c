/// What carries a connection's bytes: plain socket or TLS.
///
/// Loop-confined. Tells its ``TransportOwner`` what comes in; nothing is called after ``close()``.
protocol Transport: AnyObject {
    /// Takes as many bytes as it can now.
    ///
    /// - Returns: How many; fewer than given means that ``TransportOwner/transportIsWritable()`` follows.
    func write(_ bytes: UnsafeRawBufferPointer) -> Int
    /// Bytes taken but not yet given to the kernel.
    var backlog: Int { get }
    /// Whether the peer has sent something that has not been read.
    var hasUnread: Bool { get }
    /// Stops reading; the end of the peer is still noticed.
    func pauseReading()
    func resumeReading()
    /// Tells the peer that nothing more will come, and goes on reading.
    func finishWriting()
    func close()
}

protocol TransportOwner: AnyObject {
    func transportDidRead(_ bytes: UnsafeBufferPointer<UInt8>)
    func transportIsWritable()
    /// The peer sends nothing more than has come; it may still read. Told again when all of that has been read.
    func transportDidFinish()
    /// Nobody is at the other end any more.
    func transportDidEnd()
}

/// One buffer for all reads of a loop: what a request leaves unread is copied, which is rare.
final class ReadBuffer {
    static let size = 64 * 1024
    let bytes = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: ReadBuffer.size)
    deinit { bytes.deallocate() }
}
