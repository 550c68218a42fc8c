import ArgumentParser
struct Watch: ParsableCommand { static let configuration = CommandConfiguration(abstract: "stub"); func run() throws {} }
