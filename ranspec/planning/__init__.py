"""What training a network costs on a device, before it is trained."""
