// What a user is told when something is wrong: the same five words as everywhere in mmtrt.
#pragma once
#include <exception>
#include <string>
#include <utility>

namespace mmtrt::runner
{
struct Problem
{
    std::string code;
    std::string what;
    std::string at;
    std::string why;
    std::string fix;
};

// Thrown for all that is expected to go wrong; caught where a request or the program ends.
class Failure : public std::exception
{
public:
    explicit Failure(Problem problem)
        : mProblem(std::move(problem))
    {
    }

    char const* what() const noexcept override { return mProblem.what.c_str(); }
    Problem const& problem() const noexcept { return mProblem; }

private:
    Problem mProblem;
};

// The message is not one of the protocol's: whoever sent it is no mmtrt, or another version of it.
[[noreturn]] inline void refuseMessage(std::string what)
{
    throw Failure({"RUN050", std::move(what), "the runner's standard input",
        "mmtrt and its runner speak one version of their protocol, in frames whose sizes are said before",
        "run `mmtrt plugins build` again with this version of mmtrt, and start the runner by `mmtrt run` alone"});
}

// A request was taken back. No Problem: whoever asked for it knows.
class Cancelled : public std::exception
{
public:
    char const* what() const noexcept override { return "cancelled"; }
};
} // namespace mmtrt::runner
