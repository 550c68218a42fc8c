import ArgumentParser
struct Config: ParsableCommand { static let configuration = CommandConfiguration(abstract: "stub"); func run() throws {} }
