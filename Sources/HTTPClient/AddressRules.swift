import EventLoop
import Glibc

/// Which addresses requests may go to.
///
/// Everything that is not the public internet is denied unless it is allowed by name: loopback, private, link-local (where
/// cloud metadata lives), shared, multicast and reserved ranges. Checked on the address that is really connected to, so a
/// name that resolves to something else the second time gains nothing.
///
/// Source: IANA special-purpose address registries (RFC 6890).
package struct AddressRules: Sendable {
    /// A range of addresses: `10.0.0.0/8`, `::1/128`. IPv4 stands in the last four bytes, as IPv4-mapped.
    package struct Range: Sendable, Equatable {
        let bytes: [UInt8]
        let bits: Int

        /// - Parameter text: An address, and after a slash how many of its bits count; nil for anything else.
        package init?(_ text: String) {
            let parts = text.parts(at: "/", keepingEmpty: true)
            guard parts.count <= 2, let first = parts.first, let address = Address(String(first)) else { return nil }
            let width = address.isIPv4 ? 32 : 128
            guard let bits = parts.count == 1 ? width : Int(parts[1]), (0...width).contains(bits) else { return nil }
            bytes = address.bytes
            self.bits = bits + (address.isIPv4 ? 96 : 0)
        }

        func contains(_ address: Address) -> Bool {
            for index in 0..<16 {
                let left = min(max(bits - index * 8, 0), 8)
                let mask = UInt8(truncatingIfNeeded: 0xFF00 >> left)
                if (bytes[index] ^ address.bytes[index]) & mask != 0 { return false }
            }
            return true
        }
    }

    /// One address in the 16 bytes of IPv6.
    struct Address {
        let bytes: [UInt8]

        var isIPv4: Bool { bytes[..<12].elementsEqual(mappedPrefix) }

        init?(_ text: String) {
            var four = in_addr()
            if inet_pton(AF_INET, text, &four) == 1 {
                bytes = mappedPrefix + withUnsafeBytes(of: &four) { Array($0) }
                return
            }
            var sixteen = in6_addr()
            guard inet_pton(AF_INET6, text, &sixteen) == 1 else { return nil }
            bytes = withUnsafeBytes(of: &sixteen) { Array($0) }
        }

        /// The address of a socket; nil for other families.
        init?(_ address: UnsafePointer<sockaddr>) {
            switch CInt(address.pointee.sa_family) {
            case AF_INET:
                bytes = mappedPrefix + UnsafeRawBufferPointer(start: UnsafeRawPointer(address) + 4, count: 4)
            case AF_INET6: bytes = Array(UnsafeRawBufferPointer(start: UnsafeRawPointer(address) + 8, count: 16))
            default: return nil
            }
        }
    }

    private static let denied = [
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4", "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23",
        "2001:db8::/32",
        "2002::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    ].map { Range($0)! }

    private let allowed: [Range]

    package init(allowed: [Range] = []) { self.allowed = allowed }

    /// Whether a request may go to this address.
    func permits(_ address: Address) -> Bool {
        allowed.contains { $0.contains(address) } || !Self.denied.contains { $0.contains(address) }
    }

    package func permits(_ text: String) -> Bool { Address(text).map(permits) ?? false }

    private static let loopback = [Range("127.0.0.0/8")!, Range("::1/128")!]

    /// Whether a host, as it stands in a URL, can only be this machine.
    package static func isLoopback(_ host: String) -> Bool {
        // Source: RFC 6761, 6.3: a name that is never looked up elsewhere; curl keeps to it.
        if ["localhost", "localhost."].contains(host.inLowerCase) { return true }
        let bare = host.inside("[", "]")
        guard let address = Address(String(bare)) else { return false }
        return loopback.contains { $0.contains(address) }
    }
}

private let mappedPrefix: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]
