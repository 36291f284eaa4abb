# Placeholder targets are filled in by their rooms.
SHELL := /bin/bash
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

include lab/lab.mk
