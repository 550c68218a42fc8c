import ArgumentParser
struct Run: ParsableCommand { static let configuration = CommandConfiguration(abstract: "stub"); func run() throws {} }
