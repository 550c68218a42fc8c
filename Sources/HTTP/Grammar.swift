/// The characters of RFC 9110 and RFC 3986, as tests on one byte.
enum Grammar {
    /// `tchar`: what a method or a field's name is made of (RFC 9110, 5.6.2).
    @inline(__always)
    static func isToken(_ byte: UInt8) -> Bool { isIn(tokenLow, tokenHigh, byte) }

    /// What may stand in an origin-form target as it is: `pchar` without escapes, `/`, `?` (RFC 3986, 3.3 and 3.4).
    @inline(__always)
    static func isTarget(_ byte: UInt8) -> Bool { isIn(targetLow, targetHigh, byte) }

    /// What may stand in a target besides: the beginning of an escape, and the brackets of an address in an authority.
    @inline(__always)
    static func isTargetExtra(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: "%") || byte == UInt8(ascii: "[") || byte == UInt8(ascii: "]")
    }

    /// `field-vchar`, space or tab (RFC 9110, 5.5).
    @inline(__always)
    static func isValue(_ byte: UInt8) -> Bool { byte >= 0x20 && byte != 0x7F || byte == 0x09 }

    /// The first byte from `start` that is no part of a token; `end` when there is none.
    @inline(__always)
    static func endOfToken(_ bytes: UnsafeBufferPointer<UInt8>, _ start: Int, _ end: Int) -> Int {
        var index = start
        while index < end, isLetter(bytes[index]) || isToken(bytes[index]) { index += 1 }
        return index
    }

    /// The first byte from `start` that is no part of a value; `end` when there is none.
    @inline(__always)
    static func endOfValue(_ bytes: UnsafeBufferPointer<UInt8>, _ start: Int, _ end: Int) -> Int {
        var index = start
        // Eight at once: what is below a space or may be a delete sets its byte's highest bit (H. Warren, Hacker's Delight,
        // 6-1, "Find First 0-Byte"); a tab does, too, and is looked at below.
        while index + 8 <= end {
            let word = UnsafeRawPointer(bytes.baseAddress! + index).loadUnaligned(as: UInt64.self)
            let deletes = word ^ 0x7F7F_7F7F_7F7F_7F7F
            let suspects = (word &- 0x2020_2020_2020_2020) & ~word | (deletes &- 0x0101_0101_0101_0101) & ~deletes
            guard suspects & 0x8080_8080_8080_8080 == 0 else { break }
            index += 8
        }
        while index < end, isValue(bytes[index]) { index += 1 }
        return index
    }

    @inline(__always)
    private static func isLetter(_ byte: UInt8) -> Bool { (byte | 0x20) &- UInt8(ascii: "a") < 26 }

    static func isHost(_ byte: UInt8) -> Bool {
        isTarget(byte) && byte != UInt8(ascii: "/") && byte != UInt8(ascii: "?") && byte != UInt8(ascii: "@")
            || isTargetExtra(byte)
    }

    static func hexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte &- UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte &- UInt8(ascii: "a") &+ 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte &- UInt8(ascii: "A") &+ 10
        default: nil
        }
    }

    @inline(__always)
    static func lowercased(_ byte: UInt8) -> UInt8 {
        byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte
    }

    /// Bit sets of the 128 ASCII characters, in two words.
    @inline(__always)
    private static func isIn(_ low: UInt64, _ high: UInt64, _ byte: UInt8) -> Bool {
        byte < 64 ? low >> UInt64(byte) & 1 != 0 : byte < 128 && high >> UInt64(byte & 63) & 1 != 0
    }

    // !#$%&'*+-. 0-9            ^_`|~ A-Z a-z
    private static let tokenLow: UInt64 = 0x03FF_6CFA_0000_0000
    private static let tokenHigh: UInt64 = 0x57FF_FFFF_C7FF_FFFE
    // !$&'()*+,-./ 0-9 :;=?     @_~ A-Z a-z
    private static let targetLow: UInt64 = 0xAFFF_FFD2_0000_0000
    private static let targetHigh: UInt64 = 0x47FF_FFFE_87FF_FFFF
}
