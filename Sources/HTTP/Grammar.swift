/// The characters of RFC 9110 and RFC 3986, as tests on one byte.
enum Grammar {
    /// `tchar`: what a method or a field's name is made of (RFC 9110, 5.6.2).
    @inline(__always)
    static func isToken(_ byte: UInt8) -> Bool { isIn(tokenLow, tokenHigh, byte) }

    /// What may stand in an origin-form target: `pchar`, `/`, `?` (RFC 3986, 3.3 and 3.4).
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

    static func isHost(_ byte: UInt8) -> Bool {
        isTarget(byte) && byte != UInt8(ascii: "/") && byte != UInt8(ascii: "?") && byte != UInt8(ascii: "@")
            || byte == UInt8(ascii: "[") || byte == UInt8(ascii: "]")
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
    // !$%&'()*+,-./ 0-9 :;=?    @_~ A-Z a-z
    private static let targetLow: UInt64 = 0xAFFF_FFF2_0000_0000
    private static let targetHigh: UInt64 = 0x47FF_FFFE_87FF_FFFF
}
