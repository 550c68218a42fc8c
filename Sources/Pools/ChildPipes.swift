import CSpindle
import Glibc

/// Our ends and the child's of all its descriptors, while it is being made.
struct ChildPipes {
    struct Pair {
        var read: CInt = -1
        var write: CInt = -1
    }

    var null: CInt = -1
    var output = Pair()
    var errors = Pair()
    var channel = Pair()
    var input = Pair()
    /// What a worker shares with us, and the descriptor by which it gets it.
    var state: WorkerState?
    var stateDescriptor: CInt = -1

    /// - Throws: ``SpawnFailure`` when there are no descriptors left; ``closeAll()`` is due then too.
    mutating func open(_ kind: ChildSpec.Channel, takesInput: Bool) throws(SpawnFailure) {
        null = Glibc.open("/dev/null", O_RDONLY | O_CLOEXEC)
        var made = null >= 0 && pipe(&output) && pipe(&errors)
        if takesInput {
            made = made && pipe(&input)
            // Of this one the other end is ours.
            if made { _ = (fcntl(input.read, F_SETFL, 0), fcntl(input.write, F_SETFL, O_NONBLOCK)) }
        }
        switch kind {
        case .pipe: made = made && pipe(&channel)
        case .socket:
            var pair: (CInt, CInt) = (-1, -1)
            let code = withUnsafeMutableBytes(of: &pair) {
                spindle_socketpair($0.bindMemory(to: CInt.self).baseAddress)
            }
            made = made && code == 0
            channel = Pair(read: pair.0, write: pair.1)
            if channel.read >= 0 { _ = fcntl(channel.read, F_SETFL, O_NONBLOCK) }
            // Without it the worker gets one call at a time.
            stateDescriptor = spindle_shared_memory(WorkerState.size)
            if stateDescriptor >= 0 { state = WorkerState(mapping: stateDescriptor) }
        }
        guard made else {
            throw SpawnFailure(message: "no descriptors left for a child: \(String(cString: strerror(errno)))")
        }
    }

    /// The child that they lead to; our ends are its owner's now.
    mutating func taken(pid: pid_t, pidfd: CInt, mark: String, directory: String) -> SpawnedChild {
        let child = SpawnedChild(
            pid: pid, pidfd: pidfd, mark: mark, output: output.read, errors: errors.read, channel: channel.read,
            input: input.write, state: state, directory: directory)
        output.read = -1
        errors.read = -1
        channel.read = -1
        input.write = -1
        return child
    }

    func closeAll() {
        let all = [
            null, output.read, output.write, errors.read, errors.write, channel.read, channel.write, input.read,
            input.write, stateDescriptor,
        ]
        for descriptor in all where descriptor >= 0 { close(descriptor) }
    }

    private func pipe(_ pair: inout Pair) -> Bool {
        var ends: (CInt, CInt) = (-1, -1)
        let code = withUnsafeMutableBytes(of: &ends) { spindle_pipe($0.bindMemory(to: CInt.self).baseAddress) }
        pair = Pair(read: ends.0, write: ends.1)
        return code == 0
    }
}

/// Makes the working directory of a child, for its owner only.
func makeChildDirectory(_ name: String, below root: String) throws(SpawnFailure) -> String {
    let path = "\(root)/\(name)"
    guard mkdir(path, 0o700) == 0 else {
        throw SpawnFailure(message: "cannot make the working directory \(path): \(String(cString: strerror(errno)))")
    }
    return path
}
