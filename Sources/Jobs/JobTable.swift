/// A dictionary from job ids: open addressing with linear probing.
///
/// Ids are made by the server itself, so nobody can choose them to collide, and the keyed hash of the standard library,
/// which a job would pay some twenty times, is not needed. One multiplication spreads them (Knuth, TAOCP 6.4).
///
/// Noncopyable over memory of its own: a look costs no reference count, a change no question whether the memory is shared.
/// Public and inlinable, because the other modules' tables would otherwise be handled through type metadata.
public struct JobTable<Value>: ~Copyable {
    /// Raw ids; 0, which is no job's, marks a free place.
    @usableFromInline var keys: UnsafeMutablePointer<UInt64>
    /// Initialised where the key is not 0.
    @usableFromInline var entries: UnsafeMutablePointer<Value>
    /// Places less one; there is a power of two of them.
    @usableFromInline var mask: Int
    @usableFromInline var shift: UInt64
    @usableFromInline var used = 0

    @inlinable
    public init() {
        (keys, entries) = Self.allocate(16)
        mask = 15
        shift = 60
    }

    deinit {
        for place in 0...mask where keys[place] != 0 { (entries + place).deinitialize(count: 1) }
        keys.deallocate()
        entries.deallocate()
    }

    @inlinable public var count: Int { used }
    @inlinable public var isEmpty: Bool { used == 0 }

    /// In no particular order.
    @inlinable public var ids: [JobID] {
        UnsafeBufferPointer(start: keys, count: mask + 1).filter { $0 != 0 }.map { JobID(rawValue: $0) }
    }
    @inlinable public var values: [Value] {
        var found: [Value] = []
        found.reserveCapacity(used)
        // A plain loop: debug builds look at all jobs after every event.
        var place = 0
        while place <= mask {
            if keys[place] != 0 { found.append(entries[place]) }
            place += 1
        }
        return found
    }

    @inlinable
    public subscript(id: JobID) -> Value? {
        get {
            let place = find(id.rawValue)
            return keys[place] == 0 ? nil : entries[place]
        }
        set {
            if let newValue { insert(newValue, for: id) } else { removeValue(forKey: id) }
        }
    }

    @inlinable
    public func contains(_ id: JobID) -> Bool { keys[find(id.rawValue)] != 0 }

    @inlinable
    @discardableResult
    public mutating func removeValue(forKey id: JobID) -> Value? {
        var hole = find(id.rawValue)
        guard keys[hole] != 0 else { return nil }
        let removed = (entries + hole).move()
        used -= 1
        keys[hole] = 0
        // Later entries of the same run move up, so that no search stops at the hole.
        var place = (hole + 1) & mask
        while keys[place] != 0 {
            if (place &- home(keys[place])) & mask >= (place &- hole) & mask {
                keys[hole] = keys[place]
                (entries + hole).moveInitialize(from: entries + place, count: 1)
                keys[place] = 0
                hole = place
            }
            place = (place + 1) & mask
        }
        if mask >= 4096, used * 16 < mask { resize(to: (mask + 1) / 4) }
        return removed
    }

    @inlinable
    mutating func insert(_ value: Value, for id: JobID) {
        if (used + 1) * 2 > mask + 1 { resize(to: (mask + 1) * 2) }
        let place = find(id.rawValue)
        if keys[place] == 0 {
            used += 1
            keys[place] = id.rawValue
            (entries + place).initialize(to: value)
        } else {
            entries[place] = value
        }
    }

    /// Makes place for so many at once.
    @inlinable
    public mutating func reserve(_ count: Int) {
        var places = mask + 1
        while places < 2 * count { places *= 2 }
        if places > mask + 1 { resize(to: places) }
    }

    /// Moves everything to as many places, a power of two: after a peak to fewer, so that no look at all entries walks
    /// over the peak's places for ever.
    @inlinable
    mutating func resize(to places: Int) {
        let (oldKeys, oldEntries, oldMask) = (keys, entries, mask)
        mask = places - 1
        (keys, entries) = Self.allocate(places)
        shift = UInt64(64 - places.trailingZeroBitCount)
        for old in 0...oldMask where oldKeys[old] != 0 {
            let place = find(oldKeys[old])
            keys[place] = oldKeys[old]
            (entries + place).moveInitialize(from: oldEntries + old, count: 1)
        }
        oldKeys.deallocate()
        oldEntries.deallocate()
    }

    @inlinable
    static func allocate(_ places: Int) -> (UnsafeMutablePointer<UInt64>, UnsafeMutablePointer<Value>) {
        let keys = UnsafeMutablePointer<UInt64>.allocate(capacity: places)
        keys.initialize(repeating: 0, count: places)
        return (keys, .allocate(capacity: places))
    }

    /// Where the id stands, or where it would go.
    @inlinable
    @inline(__always)
    func find(_ key: UInt64) -> Int {
        var place = home(key)
        while keys[place] != 0, keys[place] != key { place = (place + 1) & mask }
        return place
    }

    @inlinable
    @inline(__always)
    func home(_ key: UInt64) -> Int { Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) >> shift) }
}
