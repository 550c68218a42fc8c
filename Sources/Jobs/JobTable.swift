/// A dictionary from job ids: open addressing with linear probing.
///
/// Ids are made by the server itself, so nobody can choose them to collide, and the keyed hash of the standard library,
/// which a job would pay some twenty times, is not needed. One multiplication spreads them (Knuth, TAOCP 6.4).
/// Public and inlinable, because the other modules' tables would otherwise be handled through type metadata.
public struct JobTable<Value> {
    /// Raw ids; 0, which is no job's, marks a free place.
    @usableFromInline var keys: [UInt64]
    @usableFromInline var entries: [Value?]
    @usableFromInline var shift: UInt64
    public var count = 0

    @inlinable
    public init() {
        keys = [UInt64](repeating: 0, count: 16)
        entries = [Value?](repeating: nil, count: 16)
        shift = 60
    }

    @inlinable public var isEmpty: Bool { count == 0 }

    /// In no particular order.
    @inlinable public var ids: [JobID] { keys.filter { $0 != 0 }.map { JobID(rawValue: $0) } }
    @inlinable public var values: [Value] { entries.compactMap { $0 } }

    @inlinable
    public subscript(id: JobID) -> Value? {
        get { entries[find(id.rawValue)] }
        set {
            if let newValue { insert(newValue, for: id) } else { removeValue(forKey: id) }
        }
    }

    /// The value in place, for a job that is here.
    @inlinable
    public subscript(known id: JobID) -> Value {
        get { entries[find(id.rawValue)]! }
        _modify { yield &entries[find(id.rawValue)]! }
    }

    @inlinable
    public func contains(_ id: JobID) -> Bool { keys[find(id.rawValue)] != 0 }

    @inlinable
    @discardableResult
    public mutating func removeValue(forKey id: JobID) -> Value? {
        var hole = find(id.rawValue)
        guard keys[hole] != 0 else { return nil }
        var removed: Value?
        swap(&removed, &entries[hole])
        count -= 1
        keys[hole] = 0
        // Later entries of the same run move up, so that no search stops at the hole.
        let mask = keys.count - 1
        var index = (hole + 1) & mask
        while keys[index] != 0 {
            if (index &- home(keys[index])) & mask >= (index &- hole) & mask {
                keys[hole] = keys[index]
                keys[index] = 0
                entries.swapAt(hole, index)
                hole = index
            }
            index = (index + 1) & mask
        }
        return removed
    }

    @inlinable
    mutating func insert(_ value: Value, for id: JobID) {
        if (count + 1) * 2 > keys.count { grow() }
        let index = find(id.rawValue)
        if keys[index] == 0 {
            count += 1
            keys[index] = id.rawValue
        }
        entries[index] = value
    }

    @inlinable
    mutating func grow() {
        let (oldKeys, oldEntries) = (keys, entries)
        keys = [UInt64](repeating: 0, count: oldKeys.count * 2)
        entries = [Value?](repeating: nil, count: oldKeys.count * 2)
        shift -= 1
        for index in oldKeys.indices where oldKeys[index] != 0 {
            let place = find(oldKeys[index])
            keys[place] = oldKeys[index]
            entries[place] = oldEntries[index]
        }
    }

    /// Where the id stands, or where it would go.
    @inlinable
    @inline(__always)
    func find(_ key: UInt64) -> Int {
        let mask = keys.count - 1
        var index = home(key)
        while keys[index] != 0, keys[index] != key { index = (index + 1) & mask }
        return index
    }

    @inlinable
    @inline(__always)
    func home(_ key: UInt64) -> Int { Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) >> shift) }
}
