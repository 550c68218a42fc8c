import EventLoop
import Pools
import Synchronization

/// Who may do what: the tokens of the file, and the browsers that have traded one for a cookie.
///
/// Asked on every loop; changed by a sign-in, a sign-out, and when the token file is read again. A change holds at once;
/// whoever has made it is told when it is on disk too.
final class Keyring: Sendable {
    /// Browsers that are signed in at once; beyond it the one that has been for longest is signed out.
    private static let maximumSessions = 1000

    private struct State {
        var tokens: Tokens
        /// By the digest of the cookie: what is kept is of no use to a thief.
        var sessions: [[UInt8]: Session]
        /// How often it has changed, and how many of these changes are on disk.
        var changes = 0
        var written = 0
    }

    /// Tells this server's cookie from those of others under the same host name: ports do not part cookies.
    let cookieName: String
    private let file: SessionFile?
    private let errands: Errands
    private let state: Mutex<State>

    /// - Parameters:
    ///   - file: Where sessions are kept, so that they outlive the server; nil: nowhere.
    ///   - errands: Where the file is written.
    init(_ tokens: Tokens, keptIn file: SessionFile?, by errands: Errands) {
        let kept = file?.read()
        let name = kept?.name ?? String(decoding: hex(randomBytes(8)), as: UTF8.self)
        cookieName = "spindle_\(name)"
        self.file = file
        self.errands = errands
        state = Mutex(State(tokens: tokens, sessions: kept?.sessions ?? [:]))
    }

    // MARK: Asking

    func scope(ofSecret presented: some Collection<UInt8>) -> Scope? {
        state.withLock { $0.tokens }.find(presented)?.scope
    }

    /// What a browser may do: what the token that it came with may do now.
    func scope(ofSession cookie: some Collection<UInt8>) -> Scope? {
        let digest = sha256(Array(cookie))
        return state.withLock { state in
            guard let session = state.sessions[digest], session.expires > Self.now else { return nil }
            return state.tokens.all.first { isEqual($0.digest, session.token) }?.scope
        }
    }

    // MARK: Changing

    /// Signs a browser in; nil when the token is none of ours.
    ///
    /// - Returns: What its cookie is to hold.
    func begin(withSecret presented: String) -> String? {
        let cookie = hex(randomBytes(32))
        return change { state in
            guard let token = state.tokens.find(presented.utf8) else { return nil }
            if state.sessions.count >= Self.maximumSessions,
                let oldest = state.sessions.min(by: { $0.value.expires < $1.value.expires })
            {
                state.sessions[oldest.key] = nil
            }
            state.sessions[sha256(cookie)] = Session(
                token: token.digest, expires: Self.now + Session.lifetime * 1_000_000_000)
            return String(decoding: cookie, as: UTF8.self)
        }
    }

    /// Signs a browser out; false when it was not signed in.
    func end(session cookie: some Collection<UInt8>) -> Bool {
        change { $0.sessions.removeValue(forKey: sha256(Array(cookie))) } != nil
    }

    /// Other tokens hold from now on; who is signed in with one that is gone is not any more.
    func replace(_ tokens: Tokens) {
        _ = change { state -> Void? in
            state.tokens = tokens
            let known = Set(tokens.all.map(\.digest))
            state.sessions = state.sessions.filter { known.contains($0.value.token) }
            return ()
        }
    }

    private func change<Value: Sendable>(_ body: (inout State) -> Value?) -> Value? {
        state.withLock { state in
            guard let value = body(&state) else { return nil }
            state.sessions = state.sessions.filter { $0.value.expires > Self.now }
            state.changes += 1
            return value
        }
    }

    // MARK: Keeping

    /// Calls `done` on the loop once all that has changed by now is on disk, or cannot be.
    func keep(on loop: EventLoop, then done: @escaping () -> Void) {
        guard file != nil else { return done() }
        errands.run(on: loop) { [self] in
            writeChanges()
        } then: { _ in
            done()
        }
    }

    /// On the errands' thread, one after the other: what was changed while the last one was written is written at once.
    private func writeChanges() {
        let (changes, written, sessions) = state.withLock { ($0.changes, $0.written, $0.sessions) }
        guard written < changes else { return }
        file?.write(String(cookieName.dropFirst("spindle_".count)), sessions)
        state.withLock { $0.written = changes }
    }

    private static var now: Int64 { wallNanoseconds() }
}

/// A browser that is signed in.
struct Session: Sendable {
    /// In seconds: a week.
    static let lifetime: Int64 = 7 * 24 * 3600

    /// The digest of the token that it came with.
    let token: [UInt8]
    /// In nanoseconds since 1970: also tells who came first.
    let expires: Int64
}
