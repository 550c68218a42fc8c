/// A timer that an object or a dictionary can hold: fires once, unless it is released before.
package final class Deadline {
    private var timer: Timer?

    package init(after delay: Duration, on loop: EventLoop, fire: @escaping () -> Void) {
        // Without memory for a timer nothing fires, and whoever waits goes on waiting.
        guard let timer = try? Timer(on: loop, fire: fire), (try? timer.arm(after: delay)) != nil else { return }
        self.timer = consume timer
    }
}

/// Calls an action again and again.
package final class Ticker {
    private var timer: Timer?

    package init(every interval: Duration, on loop: EventLoop, fire: @escaping () -> Void) throws(LoopError) {
        timer = try Timer(on: loop) { [unowned self] in
            fire()
            // The event exists since init; arming it again allocates nothing.
            try? self.timer?.arm(after: interval, common: true)
        }
        try timer?.arm(after: interval, common: true)
    }
}
