import Jobs

extension SeededRandom {
    /// One of the numbers below a bound.
    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
}
