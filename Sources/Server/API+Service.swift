import HTTP
import JSON
import Jobs

/// The server itself: is it well, what does it count, what does it look like.
extension API {
    func health(_ exchange: Exchange, _: String) throws(Problem) {
        exchange.respond(Self.alive)
    }

    private static let alive = Response(200, "application/json", Array("{\"status\":\"ok\"}\n".utf8))

    func ready(_ exchange: Exchange, _: String) throws(Problem) {
        if engine.isStopping { throw .draining }
        if let restoration = engine.restoration { throw .starting(for: restoration.secondsLeft) }
        exchange.respond(Self.alive)
    }

    func showMetrics(_ exchange: Exchange, _: String) throws(Problem) {
        processFigures.read { [unowned self] process in
            var text = PrometheusText()
            engine.metrics.write(of: engine, to: &text)
            text.append(meters, refused: figures?.refused ?? [:])
            text.family("spindle_http_connections", "gauge", "Open connections.", Double(figures?.connections ?? 0))
            text.family(
                "spindle_loop_lag_seconds", "gauge",
                "How late a loop came to what was due, at worst in its last second.",
                (figures?.loopLags ?? [:]).sorted { $0.key < $1.key }.map {
                    ([("loop", "\($0.key)")], Double($0.value) / 1e9)
                })
            text.append(process, startedAt: Double(engine.startedAt.nanoseconds) / 1e9)
            exchange.respond(Response(200, "text/plain; version=0.0.4; charset=utf-8", text.bytes))
        }
    }

    func openAPI(_ exchange: Exchange, _: String) throws(Problem) {
        let description = OpenAPI(
            routes: router.routes, version: engine.options.version, asksForToken: gate.keyring != nil)
        exchange.respond(.json(200, description.document))
    }

    /// Ends the session of the browser that asks.
    func signOut(_ exchange: Exchange, _: String) throws(Problem) {
        guard let cookie = gate.endSession(of: exchange.head, isTLS: exchange.peer.isTLS) else {
            throw Problem(409, "no-session", "this client is not signed in by a cookie")
        }
        endRefusedStreams()
        var response = Response(204)
        response.set("Set-Cookie", cookie)
        respondOnceKept(response, to: exchange)
    }

    /// Who is signed in or out stays so, whatever happens to the server once it has said so.
    private func respondOnceKept(_ response: Response, to exchange: Exchange) {
        guard let keyring = gate.keyring else { return exchange.respond(response) }
        keyring.keep(on: engine.loop) { exchange.respond(response) }
    }

    /// The page and its files; `/?token=` trades the token for a cookie and leads to the address without it.
    func dashboard(_ exchange: Exchange, _ file: String) throws(Problem) {
        let head = exchange.head
        if file.isEmpty, let token = try Query(head.queryText)["token"] {
            guard let cookie = gate.cookie(forToken: token, isTLS: exchange.peer.isTLS) else {
                throw Problem(
                    401, "unauthorized", "this is no token of this server; it stands in the server's token file")
            }
            var response = Response(303)
            response.set("Location", "/")
            response.set("Set-Cookie", cookie)
            response.set("Referrer-Policy", "no-referrer")
            return respondOnceKept(response, to: exchange)
        }
        guard var response = pages.page("/" + file) else { throw .notFound("there is nothing at \(head.pathText)") }
        response.set(
            "Content-Security-Policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
                + "frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
        response.set("X-Content-Type-Options", "nosniff")
        response.set("Referrer-Policy", "no-referrer")
        response.isCacheable = true
        response.set("Cache-Control", "no-cache")
        exchange.respond(response)
    }
}
