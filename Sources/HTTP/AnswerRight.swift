/// The right to answer one request.
///
/// Made when the request's head is complete (or turns out to be none), and used up by the answer's end. It cannot be copied:
/// whoever has answered has nothing left to answer with, and a request without it cannot be handed to a handler.
struct AnswerRight: ~Copyable {
    /// For HEAD: the answer has the fields of its body, but no body.
    let isWithoutBody: Bool
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    let minorVersion: UInt8

    /// For a request that is read well so far.
    init(to head: RequestHead) {
        isWithoutBody = head.method == .head
        minorVersion = head.minorVersion
    }

    /// For bytes that are no request, as far as they tell what they should have been.
    init(toBroken head: borrowing ParsedHead) {
        isWithoutBody = head.method == .head
        minorVersion = 1
    }
}
