/* main.c - the program; everything else is in the library, where tests reach it. */
#include "main/command.h"

int main(int argc, char **argv)
{
	return command_main(argc, argv);
}
