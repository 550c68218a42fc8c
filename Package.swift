// swift-tools-version: 6.2
import PackageDescription

let exclusivity =
    Context.environment["SPINDLE_EXCLUSIVITY"] == "checked"
    ? ["-enforce-exclusivity=checked"] : ["-enforce-exclusivity=unchecked"]

// Every target speaks the same dialect. Warnings are errors where the result is judged (CI=true), so that a newer
// compiler's new warning never keeps a user from building.
let dialect: [SwiftSetting] =
    [
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        // A fifth of a job's CPU time: generics are specialised and small functions inlined across our modules, and accesses
        // are not checked for overlap once more. SPINDLE_EXCLUSIVITY=checked builds the same with these checks: every test
        // runs against that too.
        .unsafeFlags(["-cross-module-optimization", "-static-stdlib"] + exclusivity, .when(configuration: .release)),
    ] + (Context.environment["CI"] == nil ? [] : [.treatAllWarnings(as: .error)])

func module(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: dialect)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, swiftSettings: dialect)
}

func library(_ header: String, pkgConfig: String, apt: String) -> Target {
    .systemLibrary(name: header, pkgConfig: pkgConfig, providers: [.apt([apt])])
}

let package = Package(
    name: "spindle",
    products: [.executable(name: "spindle", targets: ["spindle"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    ],
    targets: [
        // The cellar: system libraries made visible, and the little C that Swift cannot express.
        library("CLibevent", pkgConfig: "libevent_openssl", apt: "libevent-dev"),
        library("CCurl", pkgConfig: "libcurl", apt: "libcurl4-openssl-dev"),
        library("COpenSSL", pkgConfig: "openssl", apt: "libssl-dev"),
        library("CZlib", pkgConfig: "zlib", apt: "zlib1g-dev"),
        .target(name: "CSpindle"),
        .target(name: "CDashboard"),
        .target(name: "CPythonSDK"),

        // Floor 0: three foundations.
        module("EventLoop", ["CLibevent"]),
        module("JSON", []),
        module("Jobs", []),

        // Floor 1: four trades; none knows another.
        module("HTTP", ["EventLoop", "CLibevent", "COpenSSL", "CSpindle"]),
        module("HTTPClient", ["EventLoop", "CCurl", "CSpindle"]),
        module(
            "Pools",
            [
                "EventLoop", "JSON", "Jobs", "CSpindle",
                .product(name: "DequeModule", package: "swift-collections"),
            ]),
        module(
            "Store",
            [
                "EventLoop", "JSON", "Jobs",
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "GRDBSQLite", package: "GRDB.swift"),
                .product(name: "DequeModule", package: "swift-collections"),
            ]),

        // Floor 2: the engine with its API, and the cargo.
        module(
            "Server",
            [
                "EventLoop", "JSON", "Jobs", "HTTP", "Pools", "Store", "CDashboard", "COpenSSL", "CSpindle",
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "Logging", package: "swift-log"),
            ]),
        module("Tasks", ["EventLoop", "JSON", "Jobs", "Pools", "HTTPClient", "COpenSSL", "CZlib"]),

        // Floor 3: the command line.
        .executableTarget(
            name: "spindle",
            dependencies: [
                "EventLoop", "JSON", "Jobs", "HTTP", "HTTPClient", "Pools", "Server", "Store", "Tasks", "CSpindle",
                "CPythonSDK",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "TOMLKit", package: "TOMLKit"),
                .product(name: "Histogram", package: "hdrhistogram-swift"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: dialect,
            linkerSettings: [
                // Memory that one thread takes another gives back: a durable job costs a fifth less with this
                // allocator than with the C library's, which locks for it. Sanitizers bring their own.
                .linkedLibrary("jemalloc", .when(configuration: .release)),
                // No jumps through tables to the runtime, and no loading of it at each start of a worker.
                .unsafeFlags(["-static-stdlib", "-use-ld=lld"], .when(configuration: .release)),
            ]),

        tests("JobsTests", ["Jobs"]),
        tests("JSONTests", ["JSON"]),
        tests("HTTPTests", ["HTTP"]),
        tests("StoreTests", ["EventLoop", "Jobs", "Store", .product(name: "GRDB", package: "GRDB.swift")]),
        tests(
            "ServerTests",
            [
                "EventLoop", "HTTP", "JSON", "Jobs", "Pools", "Server", "Store",
                .product(name: "Logging", package: "swift-log"),
            ]),
        // The binary is what worker processes are.
        tests("PoolsTests", ["EventLoop", "JSON", "Jobs", "Pools", "Tasks", "spindle"]),
    ],
    swiftLanguageModes: [.v6]
)
