/// A value that other threads may carry but only the loop may open.
///
/// It is how a loop-confined object travels through another thread and back: a pool's thread holds it, the closure it
/// submits to the loop opens it.
// Public and inlinable, or the other modules would handle it through type metadata on their hot paths.
// Guard: `value` checks that the caller is on the loop's thread.
public struct LoopBound<Value>: @unchecked Sendable {
    @usableFromInline let content: Value
    public let loop: EventLoop

    @inlinable public init(_ value: Value, on loop: EventLoop) {
        content = value
        self.loop = loop
    }

    /// The value; calling this on another thread is a bug and traps.
    @inlinable public var value: Value {
        precondition(loop.isOnLoop, "a loop-bound value was opened off its loop")
        return content
    }
}
