/// What an attempt took of the machine.
package struct Usage: Sendable, Equatable {
    package var cpuNanoseconds: Int64 = 0
    package var wallNanoseconds: Int64 = 0
    /// Peak resident memory of the process it ran in; nil where that means nothing.
    package var maxRSSBytes: Int?
    package var voluntarySwitches = 0
    package var involuntarySwitches = 0

    package init() {}
}
