/// Why a request was refused before anybody looked at what it asks for. The connection closes after the answer.
package struct ParseError: Error, Equatable {
    package let status: Int
    package let reason: String

    package init(_ status: Int, _ reason: String) {
        self.status = status
        self.reason = reason
    }

    /// What the grammar does not allow.
    init(_ reason: String) { self.init(400, reason) }
}
