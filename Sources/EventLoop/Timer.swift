import CLibevent
import Glibc

/// One timer, freed exactly once, when the owner lets it go.
///
/// Loop-confined: create, arm and release it on the loop's thread. Releasing it inside its own action is allowed.
package struct Timer: ~Copyable {
    private let event: OpaquePointer
    /// libevent keeps an untyped pointer to this box; we keep the retain that makes it valid.
    private let action: Unmanaged<Action>
    private let loop: EventLoop

    package init(on loop: EventLoop, fire: @escaping () -> Void) throws(LoopError) {
        let action = Unmanaged.passRetained(Action(fire))
        guard let event = event_new(loop.base, -1, 0, Self.fired, action.toOpaque()) else {
            action.release()
            throw LoopError(.outOfMemory, call: "event_new")
        }
        self.event = event
        self.action = action
        self.loop = loop
    }

    /// Fires once, after `delay`; arming again replaces the earlier time.
    ///
    /// - Parameters:
    ///   - delay: Rounded down to whole microseconds; a negative delay counts as zero.
    ///   - common: True for one of the few durations that many timers share; then arming costs O(1).
    package borrowing func arm(after delay: Duration, common: Bool = false) throws(LoopError) {
        if common, let interval = loop.commonTimeout(delay) {
            guard event_add(event, interval) == 0 else { throw LoopError(.notScheduled, call: "event_add") }
            return
        }
        var interval = timeval(microseconds: delay.microseconds)
        guard event_add(event, &interval) == 0 else { throw LoopError(.notScheduled, call: "event_add") }
    }

    package borrowing func disarm() {
        event_del(event)
    }

    deinit {
        event_free(event)  // cancels first, so `fired` cannot run after this line
        action.release()
    }

    // It captures nothing: everything arrives through `context`, which is never nil because `init` set it. The action is
    // held while it runs, because it may release its own timer.
    private static let fired: event_callback_fn = { _, _, context in
        Unmanaged<Action>.fromOpaque(context!).takeUnretainedValue().run()
    }

    private final class Action {
        let run: () -> Void
        init(_ run: @escaping () -> Void) { self.run = run }
    }
}
