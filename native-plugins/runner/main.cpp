// mmtrt-runner: engines on a device, spoken to in frames on standard input and output. Started by `mmtrt run`.
#include "follower.h"
#include "server.h"
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

int main(int argc, char** argv)
{
    // A reader that has gone is seen by write().
    std::signal(SIGPIPE, SIG_IGN);
    // Libraries print what they like: it goes to standard error, and frames alone to what was standard output.
    int const out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    if (out < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
    {
        std::perror("mmtrt-runner: standard output");
        return 1;
    }
    // A rank that another runner has started (crew.cpp), or the runner itself.
    if (argc == 4 && std::strcmp(argv[1], "--rank") == 0)
        std::_Exit(mmtrt::runner::follow(std::atoi(argv[2]), std::atoi(argv[3])));
    mmtrt::runner::Server server(STDIN_FILENO, out);
    int32_t const code = server.serve();
    std::fflush(nullptr);
    // The thread that reads may still hold the inbox, and libraries what they keep until the end.
    std::_Exit(code);
}
