import CLibevent
import Glibc

/// Receives one signal on the loop's thread, as an ordinary event.
///
/// The signal is libevent's alone: nobody else may install a handler for it. Only one loop of a process may watch signals.
package struct SignalWatch: ~Copyable {
    private let event: OpaquePointer
    private let action: Unmanaged<Action>

    package init(_ signal: CInt, on loop: EventLoop, fire: @escaping () -> Void) throws(LoopError) {
        let action = Unmanaged.passRetained(Action(fire))
        guard let event = event_new(loop.base, signal, Int16(EV_SIGNAL | EV_PERSIST), Self.fired, action.toOpaque())
        else {
            action.release()
            throw LoopError(.outOfMemory, call: "event_new")
        }
        guard event_add(event, nil) == 0 else {
            event_free(event)
            action.release()
            throw LoopError(.notScheduled, call: "event_add")
        }
        self.event = event
        self.action = action
    }

    deinit {
        event_free(event)
        action.release()
    }

    private static let fired: event_callback_fn = { _, _, context in
        Unmanaged<Action>.fromOpaque(context!).takeUnretainedValue().run()
    }

    private final class Action {
        let run: () -> Void
        init(_ run: @escaping () -> Void) { self.run = run }
    }
}
