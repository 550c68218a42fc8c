/// How fast a queue empties.
final class QueueMeter {
    let queue: String
    var finished = 0
    private var last = 0
    /// Jobs a second, smoothed over some seconds.
    private(set) var rate = 0.0

    init(of queue: String) { self.queue = queue }

    func tick() {
        rate += (Double(finished - last) - rate) * 0.3
        if rate < 0.01 { rate = 0 }
        last = finished
    }
}
