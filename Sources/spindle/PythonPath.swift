import ArgumentParser

struct PythonPath: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "python-path",
        abstract: "Prints the directory of spindle.py, for PYTHONPATH.",
        discussion: """
            Example:  PYTHONPATH=$(spindle python-path) python3 -c 'import spindle'
            For editors and tests; spindle serve --python finds it by itself.
            """)

    func run() throws { emit(try PythonSDK.directory()) }
}
