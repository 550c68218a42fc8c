import CLibevent
import Glibc

/// What a ``Watch`` waits for, and what it then reports.
package struct Readiness: OptionSet, Sendable {
    package let rawValue: Int16
    package init(rawValue: Int16) { self.rawValue = rawValue }

    package static let readable = Readiness(rawValue: Int16(EV_READ))
    package static let writable = Readiness(rawValue: Int16(EV_WRITE))
    /// The peer closed its side; reported without reading.
    package static let closed = Readiness(rawValue: Int16(EV_CLOSED))
    /// Not a readiness of its own: what is watched is told when it comes about, not for as long as it lasts. All watches of one
    /// descriptor have it, or none.
    package static let edge = Readiness(rawValue: Int16(EV_ET))
}

/// Watches one descriptor, level-triggered, until it is paused or released. Does not own the descriptor.
///
/// Loop-confined. Release it before the descriptor is closed.
package struct Watch: ~Copyable {
    private let event: OpaquePointer
    private let action: Unmanaged<Action>

    /// - Parameter fire: Called with what is ready. Releasing the watch inside it is allowed.
    package init(
        _ descriptor: CInt, for readiness: Readiness, on loop: EventLoop, fire: @escaping (Readiness) -> Void
    ) throws(LoopError) {
        let action = Unmanaged.passRetained(Action(fire))
        guard
            let event = event_new(
                loop.base, descriptor, readiness.rawValue | Int16(EV_PERSIST), Self.fired, action.toOpaque())
        else {
            action.release()
            throw LoopError(.outOfMemory, call: "event_new")
        }
        self.event = event
        self.action = action
    }

    package borrowing func start() throws(LoopError) {
        guard event_add(event, nil) == 0 else { throw LoopError(.notScheduled, call: "event_add") }
    }

    package borrowing func pause() {
        event_del(event)
    }

    deinit {
        event_free(event)
        action.release()
    }

    private static let fired: event_callback_fn = { _, what, context in
        Unmanaged<Action>.fromOpaque(context!).takeUnretainedValue().run(Readiness(rawValue: what))
    }

    private final class Action {
        let run: (Readiness) -> Void
        init(_ run: @escaping (Readiness) -> Void) { self.run = run }
    }
}
