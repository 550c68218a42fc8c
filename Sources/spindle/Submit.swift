import ArgumentParser
struct Submit: ParsableCommand { static let configuration = CommandConfiguration(abstract: "stub"); func run() throws {} }
