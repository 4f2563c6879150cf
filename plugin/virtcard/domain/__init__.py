"""libvirt domains: XML in, XML or steps out; libvirt itself behind one module."""
