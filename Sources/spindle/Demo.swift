import ArgumentParser
struct Demo: ParsableCommand { static let configuration = CommandConfiguration(abstract: "stub"); func run() throws {} }
